from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dsft import process_memory
from dsft.process_memory import free_memory

only_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told what to do")

FAULTS = """
import resource
import numpy as np
from dsft.process_memory import free_memory, keep_memory, default_memory, release_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.full(50_000_000, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def say():
    faults()
    print(faults())

say()
keep_memory()
say()
with default_memory():
    say()
say()
held = resident()
free_memory()
print(held - resident())
release_memory()
with default_memory():
    say()
say()
"""
"""Prints the pages that eight arrays of 50 MB get: as always, kept, as elsewhere, kept; the bytes given back; pages."""


def run(**environment: str) -> list[int]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", FAULTS]
    said = subprocess.run(command, env={**inherited, **environment}, capture_output=True, text=True, check=True).stdout
    return [int(line) for line in said.splitlines()]


@only_glibc
def test_kept_memory_is_not_requested_again() -> None:
    always, kept, elsewhere, kept_again, given_back, *released = run()
    # With pages of 4 KiB there are 97,000; of 2 MiB, where the system gives them by itself, 190.
    assert min(always, elsewhere, *released) > 100
    assert max(kept, kept_again) < 20
    assert given_back > 40_000_000


@only_glibc
@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_MMAP_MAX_", "65536"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=65536")]
)
def test_a_setting_of_the_user_has_precedence(name: str, value: str) -> None:
    assert min(run(**{name: value})[:4]) > 100


def test_the_free_memory_is_some() -> None:
    free = free_memory()
    assert free is not None
    assert 2**20 < free < 2**50


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text(f"{3 * 2**20}\n")
    (tmp_path / "memory.current").write_text(f"{2 * 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 7\ninactive_file {2**20}\nactive_file 5\n")
    monkeypatch.setattr(process_memory, "_CGROUP", tmp_path)
    assert free_memory() == 2 * 2**20


def test_files_kept_in_memory_count_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemFree:    10 kB\nMemAvailable:   2000 kB\n")
    monkeypatch.setattr(process_memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(process_memory, "_MEMINFO", tmp_path / "meminfo")
    assert free_memory() == 2000 * 1024
