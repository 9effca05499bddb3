"""Runs of dsft in processes of their own, started by a fork of one that has loaded everything: torch takes seconds.

The server reads a line of JSON for each run, the arguments of the command line, and answers with the process number
and, when that has ended, with its exit code (negative: the signal that killed it).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Fork:
    """A run under way."""

    pid: int
    server: subprocess.Popen[str]

    def wait(self) -> int:
        """Return the exit code when the run has ended."""
        return int(_answer(self.server))


@dataclass
class ForkServer:
    """The process that forks; one run at a time."""

    server: subprocess.Popen[str]

    def start(self, *arguments: str | Path, stderr: Path) -> Fork:
        """Start ``dsft`` with these arguments; what it says on standard error goes into a file."""
        assert self.server.stdin is not None
        print(json.dumps([str(stderr), *map(str, arguments)]), file=self.server.stdin, flush=True)
        return Fork(int(_answer(self.server)), self.server)


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
    from dsft.cli import app
    from dsft.commands import experiment  # noqa: F401
    from dsft.console import show_progress  # noqa: F401

    torch.set_num_threads(1)
    answers = os.dup(sys.stdout.fileno())
    for line in sys.stdin:
        stderr, *arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            output = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(0)
            sys.argv = ["dsft", *arguments]
            app()
            os._exit(0)
        os.write(answers, f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    _serve()
