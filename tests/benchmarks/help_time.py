"""How long `dsft --help` takes, beside an interpreter that does nothing: medians of processes started in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

ROUNDS = 15
HELPS: tuple[list[str], ...] = ([], ["train"], ["finetune"], ["convert"], ["evaluate"], ["recipes"])


def seconds(command: Sequence[str]) -> float:
    """Return how long a process runs, its start included."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print one line for each help page."""
    commands = {"(an empty program)": ["-c", ""]}
    commands |= {f"dsft {' '.join(verb)} --help": ["-m", "dsft", *verb, "--help"] for verb in HELPS}
    for command in commands.values():
        seconds(command)
    rounds = [[seconds(command) for command in commands.values()] for _ in range(ROUNDS)]
    for name, times in zip(commands, zip(*rounds, strict=True), strict=True):
        print(f"{name:28} median {statistics.median(times):.3f} s, slowest {max(times):.3f} s")  # noqa: T201


if __name__ == "__main__":
    main()
