"""The command blocks of the READMEs run, and every recipe and verb is documented."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsft.recipe import shipped_recipes

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "recipes/README.md")
"""What has command blocks; the blocks of a document run in one folder, in their order."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and whether a comment before it says that it takes long."""

    language: str
    text: str
    is_long: bool


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    found = re.finditer(r"(<!-- long -->\n+)?^```(\w*)\n(.*?)^```$", read(document), re.DOTALL | re.MULTILINE)
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


@pytest.mark.parametrize("document", DOCUMENTS)
def test_short_blocks_run(document: str, tmp_path: Path) -> None:
    short = [block for block in blocks(document) if not block.is_long]
    assert short
    run_all(short, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_all_blocks_run_in_order(document: str, tmp_path: Path) -> None:
    run_all(blocks(document), tmp_path)


def test_python_blocks_are_run() -> None:
    assert any(block.language == "python" and not block.is_long for block in blocks("README.md"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_run_or_known(document: str) -> None:
    # py: examples for other libraries, which tests/ecosystem/ runs in another form.
    assert {block.language for block in blocks(document)} <= {"console", "python", "py", "yaml", "text"}
    for block in blocks(document):
        if block.language == "py":
            compile(block.text, document, "exec")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in (
        command for block in blocks(document) if block.language == "console" for command in commands(block)
    ):
        assert command[0] in ("dsft", "make", "git", "pip", "cd", "python"), command
        if command[0] == "python":
            assert (ROOT / command[1]).is_file()
        if command[0] == "make":
            assert command[1] in targets


def test_every_recipe_and_verb_is_documented() -> None:
    for recipe in shipped_recipes():
        assert f"`dsft {recipe.verb} {recipe.name}" in read("recipes/README.md")
    verbs = ("train", "finetune", "convert", "evaluate", "inspect", "sweep", "predict", "export", "benchmark", "models")
    for verb in (*verbs, "env"):
        assert f"dsft {verb}" in read("README.md")
