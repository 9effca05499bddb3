"""The README's command blocks are run, and its reference is the schema's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsft.recipe import recipe_reference

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and whether a comment before it says that it takes long."""

    language: str
    text: str
    is_long: bool


def blocks() -> list[Block]:
    found = re.finditer(r"(<!-- long -->\n+)?^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [Block(match[2], match[3], match[1] is not None) for match in found]


def commands(block: Block) -> list[list[str]]:
    """Return what a block runs: the lines after ``$``, or the whole of a Python block."""
    if block.language == "python":
        return [[sys.executable, "-W", "error", "-c", block.text]]
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    return [line[2:].partition(" #")[0].split() for line in lines if line.startswith("$ ")]


def run_all(chosen: list[Block], folder: Path) -> None:
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    for block in chosen:
        for command in commands(block):
            if command[0] in ("dsft", sys.executable):
                done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_short_blocks_run(tmp_path: Path) -> None:
    short = [block for block in blocks() if not block.is_long]
    assert any(block.language == "python" for block in short)
    run_all(short, tmp_path)


@pytest.mark.slow
def test_all_blocks_run_in_order(tmp_path: Path) -> None:
    run_all(blocks(), tmp_path)


def test_every_block_is_run_or_known() -> None:
    assert {block.language for block in blocks()} <= {"console", "python", "yaml", "text"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in (command for block in blocks() if block.language == "console" for command in commands(block)):
        assert command[0] in ("dsft", "make", "git", "pip", "cd", "python"), command
        if command[0] == "python":
            assert (ROOT / command[1]).is_file()
        if command[0] == "make":
            assert command[1] in targets


def test_the_recipe_reference_is_the_schemas() -> None:
    begin, end = "<!-- recipe reference: dsft recipes schema -->\n", "<!-- end of the recipe reference -->"
    assert README.partition(begin)[2].partition(end)[0].strip() == recipe_reference().strip()


def test_every_recipe_and_verb_is_told_of() -> None:
    for path in (ROOT / "recipes").glob("*.yaml"):
        assert f"`{path.stem}`" in README
    verbs = ("train", "finetune", "convert", "evaluate", "inspect", "sweep", "predict", "export", "benchmark", "models")
    for verb in (*verbs, "env"):
        assert f"dsft {verb}" in README
