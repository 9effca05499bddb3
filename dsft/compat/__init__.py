"""Private and undocumented names of other libraries, each with a fallback that works without the name.

No other package uses such names; ``tests/compat/test_private_names.py`` checks it.
"""
