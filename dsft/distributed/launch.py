"""Rank and world size of this process, from the environment variables of torchrun or of SLURM's srun."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dsft.errors import InputError

_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_DEFAULT_PORT = 29500
_LOWEST_PORT, _PORTS = 15_000, 10_000


@dataclass(frozen=True)
class Launch:
    """Rank of this process, and the address of the others.

    Attributes:
        rank: Rank among all processes, counted from 0.
        count: Number of processes (world size).
        local_rank: Rank among the processes on this machine.
        local_count: Number of processes that share the cores and the memory available to this one.
        address: Host name of the machine of process 0.
        port: Port on that machine at which the processes connect.
        hosts_store: Process 0 runs the shared key-value store; otherwise the launcher does.
        attempt: How often the launcher has restarted the processes.
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
"""A single process."""


def read_launch(environment: Mapping[str, str]) -> Launch:
    """Read the variables that torchrun or srun sets; without them it is a single process.

    The script of a SLURM batch job has the variables of the job but is not one of its tasks: a single process too.

    Raises:
        InputError: Some of the variables are missing, or they contradict each other.
    """
    if "RANK" in environment or environment.get("WORLD_SIZE", "1") != "1":
        return _started_by_torchrun(environment)
    if "SLURM_PROCID" in environment and not _is_batch_script(environment):
        return _started_by_srun(environment)
    return SINGLE


def _started_by_torchrun(environment: Mapping[str, str]) -> Launch:
    if environment.get("WORLD_SIZE") == "1" and environment.get("RANK", "0") == "0":
        return SINGLE
    _require_all(_TORCHRUN_VARIABLES, environment, "torchrun sets all of them")
    rank, count, local_rank, port = (
        _integer(name, environment) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
    )
    _require_rank("RANK", rank, "WORLD_SIZE", count)
    return Launch(
        rank,
        count,
        local_rank,
        # If it is not set, this process is assumed to have cores and memory of its own.
        _integer("LOCAL_WORLD_SIZE", environment) if "LOCAL_WORLD_SIZE" in environment else 1,
        environment["MASTER_ADDR"],
        port,
        hosts_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
        attempt=_integer("TORCHELASTIC_RESTART_COUNT", environment)
        if "TORCHELASTIC_RESTART_COUNT" in environment
        else 0,
    )


def _is_batch_script(environment: Mapping[str, str]) -> bool:
    # SLURM's daemon sets the node name in both; only srun sets a step.
    return "SLURMD_NODENAME" in environment and "SLURM_STEP_ID" not in environment


def _started_by_srun(environment: Mapping[str, str]) -> Launch:
    # The number of tasks of the step, which may be smaller than that of the job.
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    if environment.get(tasks) == "1":
        return SINGLE
    _require_all(("SLURM_PROCID", tasks, "SLURM_LOCALID"), environment, "srun sets all of them")
    rank, count, local_rank = (_integer(name, environment) for name in ("SLURM_PROCID", tasks, "SLURM_LOCALID"))
    _require_rank("SLURM_PROCID", rank, tasks, count)
    return Launch(
        rank,
        count,
        local_rank,
        # srun gives each task its own cores and memory.
        local_count=1,
        address=environment.get("MASTER_ADDR") or _first_node(environment),
        port=_integer("MASTER_PORT", environment) if "MASTER_PORT" in environment else _port_of_job(environment),
    )


def _first_node(environment: Mapping[str, str]) -> str:
    """Return the first host of a list such as ``node[007-010,12],login``, which runs process 0."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST")
    if not nodes:
        raise InputError(
            "SLURM_JOB_NODELIST: the processes connect on the first of its nodes, found no such variable. Set "
            "MASTER_ADDR to the host of process 0."
        )
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?([^\[,]*)", nodes)
    if match is None:
        raise InputError(
            f"SLURM_JOB_NODELIST: expected a list such as 'node[1-4]', found {nodes!r}. Set MASTER_ADDR to the host of "
            "process 0."
        )
    return "".join(part or "" for part in match.groups())


def _port_of_job(environment: Mapping[str, str]) -> int:
    # Jobs that share a machine, and the steps of a job, need different ports.
    job, step = (environment.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    if not (job.isdigit() and step.isdigit()) or job == "0":
        return _DEFAULT_PORT
    return _LOWEST_PORT + (int(job) + 997 * int(step)) % _PORTS


def _require_all(names: tuple[str, ...], environment: Mapping[str, str], origin: str) -> None:
    missing = [name for name in names if not environment.get(name)]
    if missing:
        found = ", ".join(f"{name}={environment[name]!r}" for name in names if name in environment)
        raise InputError(
            f"{missing[0]}: several processes need {', '.join(names)}, found {found} without {' and '.join(missing)}. "
            f"Set all ({origin}), or none to run in a single process."
        )


def _integer(name: str, environment: Mapping[str, str]) -> int:
    value = environment[name]
    if not (value.isascii() and value.isdigit()):
        raise InputError(f"{name}: expected an integer of 0 or more, found {value!r}.")
    return int(value)


def _require_rank(name: str, rank: int, of: str, count: int) -> None:
    if rank >= count:
        raise InputError(f"{name}: must be under {of}={count}, found {rank}.")
