"""Runs in several processes, on one machine or several.

:mod:`dsft.distributed.launch` reads rank and world size from the environment, without importing torch.
:mod:`dsft.distributed.processes` joins the process group and communicates, :mod:`dsft.distributed.data_parallel`
averages gradients, and :mod:`dsft.distributed.sync_batchnorm` shares the statistics of BatchNorm.
"""
