"""One file for each verb: ``run(...)`` does the work and returns a frozen result; nothing here prints."""
