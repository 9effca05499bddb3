"""The table of tests/benchmarks/README.md names tests that exist, and no cell is without one."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
TEXT = (TESTS / "benchmarks" / "README.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## Networks of other libraries")[2].partition("\n## ")[0]


def test_every_letter_stands_for_a_test() -> None:
    rows = [line.strip("|").split("|")[2:] for line in SECTION.splitlines() if line.startswith("| ")][2:]
    letters = {letter for row in rows for cell in row for letter in re.findall(r"\b[a-z]\b", cell)}
    explained = dict(re.findall(r"^- (\w): `((?:commands/)?test_\w+\.py::test_\w+)`", SECTION, re.MULTILINE))
    assert len(rows) == 14
    assert letters == set(explained)


def test_the_tests_exist() -> None:
    named = re.findall(r"`(commands/)?(test_\w+\.py)::(test_\w+)`", SECTION)
    assert named
    for folder, file, function in named:
        assert f"def {function}(" in (TESTS / (folder or HERE.name) / file).read_text(encoding="utf-8"), function
