"""Who started this process beside others: torchrun, or srun of SLURM, as the environment says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dsft.errors import InputError

_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_DEFAULT_PORT = 29500
_LOWEST_PORT, _PORTS = 15_000, 10_000


@dataclass(frozen=True)
class Launch:
    """The place of this process among those of a run.

    Attributes:
        rank: Its number among all, counted from 0.
        count: How many there are.
        local_rank: Its number among those on this machine.
        local_count: How many share the cores and the memory that this process sees.
        address: Host name of the machine of process 0.
        port: Where processes find each other there.
        hosts_store: Process 0 keeps what the processes leave for each other; else the program that started them does.
        attempt: How often that program has started them again.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    address: str = "localhost"
    port: int = _DEFAULT_PORT
    hosts_store: bool = True
    attempt: int = 0


SINGLE = Launch()
"""A process by itself."""


def read_launch(environment: Mapping[str, str]) -> Launch:
    """Read the variables that torchrun or srun set; where neither did, the process is alone.

    The script of a SLURM batch job, which has the job's variables and is no task of it, is alone as well.

    Raises:
        InputError: Some of the variables are there and others are not, or they contradict each other.
    """
    if "RANK" in environment or environment.get("WORLD_SIZE", "1") != "1":
        return _started_by_torchrun(environment)
    if "SLURM_PROCID" in environment and not _is_batch_script(environment):
        return _started_by_srun(environment)
    return SINGLE


def _started_by_torchrun(environment: Mapping[str, str]) -> Launch:
    if environment.get("WORLD_SIZE") == "1" and environment.get("RANK", "0") == "0":
        return SINGLE
    _require_all(_OF_TORCHRUN, environment, "torchrun sets all of them")
    rank, count, local_rank, port = (
        _whole(name, environment) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
    )
    _require_rank("RANK", rank, "WORLD_SIZE", count)
    return Launch(
        rank,
        count,
        local_rank,
        # Where it is not said, the cores and the memory are taken for this process's own.
        _whole("LOCAL_WORLD_SIZE", environment) if "LOCAL_WORLD_SIZE" in environment else 1,
        environment["MASTER_ADDR"],
        port,
        hosts_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
        attempt=_whole("TORCHELASTIC_RESTART_COUNT", environment) if "TORCHELASTIC_RESTART_COUNT" in environment else 0,
    )


def _is_batch_script(environment: Mapping[str, str]) -> bool:
    # SLURM's own daemon names its node to both; only srun counts steps.
    return "SLURMD_NODENAME" in environment and "SLURM_STEP_ID" not in environment


def _started_by_srun(environment: Mapping[str, str]) -> Launch:
    # The step's number of tasks: a job may have steps of fewer tasks than its own.
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    if environment.get(tasks) == "1":
        return SINGLE
    _require_all(("SLURM_PROCID", tasks, "SLURM_LOCALID"), environment, "srun sets all of them")
    rank, count, local_rank = (_whole(name, environment) for name in ("SLURM_PROCID", tasks, "SLURM_LOCALID"))
    _require_rank("SLURM_PROCID", rank, tasks, count)
    return Launch(
        rank,
        count,
        local_rank,
        # srun gives every task cores and memory of its own.
        local_count=1,
        address=environment.get("MASTER_ADDR") or _first_node(environment),
        port=_whole("MASTER_PORT", environment) if "MASTER_PORT" in environment else _port_of_job(environment),
    )


def _first_node(environment: Mapping[str, str]) -> str:
    """Return the first host of a list such as ``node[007-010,12],login``: there process 0 is."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST")
    if not nodes:
        raise InputError(
            "SLURM_JOB_NODELIST: the processes find each other on the first of its nodes, found no such variable. Set "
            "MASTER_ADDR to the host of process 0."
        )
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?([^\[,]*)", nodes)
    if match is None:
        raise InputError(
            f"SLURM_JOB_NODELIST: expected such as 'node[1-4]', found {nodes!r}. Set MASTER_ADDR to the host of "
            "process 0."
        )
    return "".join(part or "" for part in match.groups())


def _port_of_job(environment: Mapping[str, str]) -> int:
    # Jobs that share a machine, and the steps of one job, should not meet.
    job, step = (environment.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    if not (job.isdigit() and step.isdigit()) or job == "0":
        return _DEFAULT_PORT
    return _LOWEST_PORT + (int(job) + 997 * int(step)) % _PORTS


def _require_all(names: tuple[str, ...], environment: Mapping[str, str], origin: str) -> None:
    missing = [name for name in names if not environment.get(name)]
    if missing:
        there = ", ".join(f"{name}={environment[name]!r}" for name in names if name in environment)
        raise InputError(
            f"{missing[0]}: several processes need {', '.join(names)}, found {there} without {' and '.join(missing)}. "
            f"Set all ({origin}), or none to run alone."
        )


def _whole(name: str, environment: Mapping[str, str]) -> int:
    value = environment[name]
    if not (value.isascii() and value.isdigit()):
        raise InputError(f"{name}: expected a whole number, found {value!r}.")
    return int(value)


def _require_rank(name: str, rank: int, of: str, count: int) -> None:
    if rank >= count:
        raise InputError(f"{name}: processes are counted from 0 to {of} - 1, found {rank} of {count}.")
