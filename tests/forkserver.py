"""Runs of dsft in processes of their own, started by a fork of one that has loaded everything: torch takes seconds.

The server reads a line of JSON for each run, the arguments of the command line and the variables of each of its
processes, and answers with their numbers and, when all have ended, with their exit codes (negative: the signal that
killed one).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Fork:
    """A run under way."""

    pids: Sequence[int]
    server: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """The number of the first process."""
        return self.pids[0]

    def wait(self) -> int:
        """Return the exit code when the run of one process has ended."""
        (code,) = self.wait_all()
        return code

    def wait_all(self) -> list[int]:
        """Return the exit codes when all processes have ended."""
        codes: list[int] = json.loads(_answer(self.server))
        return codes


@dataclass
class ForkServer:
    """The process that forks; one run at a time, in one process or several."""

    server: subprocess.Popen[str]

    def start(self, *arguments: str | Path, stderr: Path, environments: Sequence[Mapping[str, str]] = ({},)) -> Fork:
        """Start ``dsft`` with these arguments, a process for each environment; what they say goes into a file."""
        assert self.server.stdin is not None
        order = [str(stderr), list(map(str, arguments)), list(map(dict, environments))]
        print(json.dumps(order), file=self.server.stdin, flush=True)
        return Fork(json.loads(_answer(self.server)), self.server)


@contextlib.contextmanager
def fork_server(environment: Mapping[str, str]) -> Iterator[ForkServer]:
    """Start a server whose environment has these variables as well."""
    command = [sys.executable, __file__]
    pipe = subprocess.PIPE
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ) as server:
        yield ForkServer(server)
        assert server.stdin is not None
        server.stdin.close()


def _answer(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line, "the server has ended"
    return line


def _serve() -> None:
    import torch

    from dsft.assembly import prepare_experiment  # noqa: F401 - loaded once, for all
    from dsft.commands import experiment  # noqa: F401
    from dsft.console import show_progress  # noqa: F401

    torch.set_num_threads(1)
    answers = os.dup(sys.stdout.fileno())
    for line in sys.stdin:
        stderr, arguments, environments = json.loads(line)
        pids = []
        for environment in environments:
            pid = os.fork()
            if pid == 0:
                _run(stderr, arguments, environment)
            pids.append(pid)
        os.write(answers, f"{json.dumps(pids)}\n".encode())
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        os.write(answers, f"{json.dumps(codes)}\n".encode())


def _run(stderr: str, arguments: list[str], environment: Mapping[str, str]) -> None:
    from dsft.cli import app

    output = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(0)
    os.environ.update(environment)
    sys.argv = ["dsft", *arguments]
    app()
    os._exit(0)


if __name__ == "__main__":
    _serve()
