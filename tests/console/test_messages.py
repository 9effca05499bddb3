from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from dsft.console import build_table, print_error, print_json, print_result
from dsft.errors import InterruptedRun, RecipeError

pytest.importorskip("pty", reason="needs a pseudo terminal")
from tests.console.terminal import environment, run_on_terminal

_LONG = "runs/" + "deep/" * 40 + "model"
_TABLE = f"""
from dsft.console import build_table, print_result
print_result(build_table(["model", "top-1", "loss"], [[{_LONG!r}, "97.22", "0.1234"]], numbers=["top-1", "loss"]))
"""


def test_results_go_to_standard_output_with_an_empty_line_between(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(build_table(["name"], [["a"]]), "a [bold]text[/bold]")
    captured = capsys.readouterr()
    # Nor does a line end with spaces, which a table pads its cells with.
    assert re.fullmatch(r"name\n─+\na\n\na \[bold\]text\[/bold\]\n", captured.out)
    assert captured.err == ""


def test_in_a_pipe_no_line_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(build_table(["model", "top-1"], [[_LONG, "97.22"]], numbers=["top-1"]))
    assert capsys.readouterr().out.splitlines()[2].split() == [_LONG, "97.22"]


@pytest.mark.parametrize("columns", [10, 40, 80])
def test_on_a_terminal_numbers_stay_whole_however_narrow_it_is(columns: int) -> None:
    screen = run_on_terminal(_TABLE, columns=columns, env={"NO_COLOR": "1"})
    assert "97.22  0.1234" in screen
    assert screen.replace("\r", "").count("\n") > 3


def test_an_encoding_that_lacks_a_character_costs_no_result() -> None:
    code = "from dsft.console import *; print_result(build_table(['class', 'n'], [['Zürich 牛', '1']]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env=environment({"PYTHONIOENCODING": "ascii"}),
        encoding="ascii",
    )
    assert r"Z\xfcrich \u725b" in done.stdout


def test_json_is_ascii_and_read_back_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"class": "Zürich 牛", "top1": 97.25, "none": None}
    print_json(value)
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == value


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"loss": float("nan")})


def test_an_error_is_plain_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    message = f"recipes/a.yaml:9  optim.[lr]: {'long ' * 40}.\nrecipes/a.yaml:10  second"
    print_error(RecipeError(message))
    captured = capsys.readouterr()
    assert captured.err == f"error: {message}\n"
    assert captured.out == ""


def test_a_stopped_run_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(InterruptedRun("the last checkpoint is saved", 2))
    assert capsys.readouterr().err == "stopped: the last checkpoint is saved\n"


def test_an_error_is_framed_on_a_terminal() -> None:
    code = (
        "from dsft.console import *; from dsft.errors import *; print_error(RecipeError('x.yaml:9  [b]: ' + 'a ' * 60))"
    )
    screen = run_on_terminal(code, env={"NO_COLOR": "1"}).replace("\r", "")
    lines = screen.splitlines()
    assert lines[0].startswith("╭─ error ")
    assert lines[1].startswith("│ x.yaml:9  [b]: a a")
    assert {len(line) for line in lines} == {80}


def test_the_console_loads_no_torch() -> None:
    code = "import sys, dsft.console; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment({}))
