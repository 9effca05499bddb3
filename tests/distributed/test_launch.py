from __future__ import annotations

from collections.abc import Mapping

import pytest

from dsft.distributed.launch import SINGLE, Launch, read_launch
from dsft.errors import InputError

HERE = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN = {**HERE, "MASTER_ADDR": "a", "MASTER_PORT": "29400"}
SLURM = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_JOB_NODELIST": "n[003-004]"}
ON_A_NODE = {**SLURM, "SLURMD_NODENAME": "n003", "SLURM_JOB_ID": "77"}


def test_torchrun_says_who_this_process_is() -> None:
    assert read_launch(TORCHRUN) == Launch(3, 4, 1, 2, "a", 29400, hosts_store=True, attempt=0)
    restarted = {**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"}
    assert read_launch(restarted) == Launch(3, 4, 1, 2, "a", 29400, hosts_store=False, attempt=2)


def test_srun_says_who_this_process_is() -> None:
    assert read_launch(SLURM) == Launch(1, 4, 1, 1, "n003", 29500)
    assert read_launch({**SLURM, "MASTER_ADDR": "b", "MASTER_PORT": "7"}) == Launch(1, 4, 1, 1, "b", 7)
    step = {**ON_A_NODE, "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "2"}
    assert read_launch(step) == Launch(1, 2, 1, 1, "n003", 15_000 + 77 + 2 * 997)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": "1", "RANK": "0", "MASTER_PORT": "1"},
        {"MASTER_ADDR": "a"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"},
        # The script of a batch job, and a shell in an allocation.
        ON_A_NODE,
        {**ON_A_NODE, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_a_process_that_nobody_started_beside_others_is_alone(environment: Mapping[str, str]) -> None:
    assert read_launch(environment) == SINGLE


def test_torchrun_within_a_job_of_slurm_comes_first() -> None:
    assert read_launch({**SLURM, **TORCHRUN}).count == 4
    assert read_launch({**SLURM, **TORCHRUN}).rank == 3


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[7,9]", "n7"),
        ("n[010-12],m3", "n010"),
        ("a-[2-3]-x,b", "a-2-x"),
        ("a.b", "a.b"),
    ],
)
def test_processes_meet_on_the_first_node(nodes: str, first: str) -> None:
    assert read_launch({**SLURM, "SLURM_JOB_NODELIST": nodes}).address == first


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"RANK": "0"},
            r"^WORLD_SIZE: several processes need RANK, .* found RANK='0' without WORLD_SIZE and LOCAL_RANK",
        ),
        ({"WORLD_SIZE": "2"}, r"^RANK: several processes need .* found WORLD_SIZE='2' without RANK and"),
        ({**TORCHRUN, "MASTER_PORT": ""}, r"^MASTER_PORT: .* without MASTER_PORT\. Set all \(torchrun sets"),
        ({**TORCHRUN, "RANK": "4"}, r"^RANK: must be under WORLD_SIZE=4, found 4"),
        ({**TORCHRUN, "RANK": "-1"}, r"^RANK: expected an integer of 0 or more, found '-1'"),
        ({**TORCHRUN, "MASTER_PORT": "x"}, r"^MASTER_PORT: expected an integer of 0 or more, found 'x'"),
        ({"SLURM_PROCID": "1"}, r"^SLURM_NTASKS: .* found SLURM_PROCID='1' without SLURM_NTASKS and SLURM_LOCALID"),
        ({**SLURM, "SLURM_JOB_NODELIST": ""}, r"^SLURM_JOB_NODELIST: .*Set MASTER_ADDR"),
        (
            {**SLURM, "SLURM_JOB_NODELIST": "[1-2]"},
            r"^SLURM_JOB_NODELIST: expected a list such as 'node\[1-4\]', found '\[1-2\]'",
        ),
    ],
)
def test_half_an_environment_is_an_error(environment: Mapping[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_launch(environment)
