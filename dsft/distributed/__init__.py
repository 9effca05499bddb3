"""A run in several processes, on one machine or several: who this process is, and what the processes tell each other.

Reading the environment (:mod:`dsft.distributed.launch`) loads no torch; joining the others
(:mod:`dsft.distributed.processes`) does.
"""
