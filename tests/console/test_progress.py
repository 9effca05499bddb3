from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from dsft.choices import ProgressMode
from dsft.console import progress_for_python, show_progress
from dsft.progress import Advanced, Event, Finished, Note, Started, ignore

pytest.importorskip("pty", reason="needs a pseudo terminal")
from tests.console.terminal import environment, run_on_terminal

_RUN = """
import sys, time, warnings
from dsft.choices import ProgressMode
from dsft.console import show_progress
from dsft.progress import *
with show_progress(ProgressMode({mode!r})) as report:
    report(Note("loaded [bold]model[/bold] and its weights, a note that is longer than one line of 80 columns"))
    report(Warn("the teacher is weak"))
    report(Started("training", 200, "steps", epochs=10))
    for step in range(1, 21):
        report(Advanced("training", step, {{"loss": 2.5 / step, "lr": 1.2345e-05}}))
        time.sleep(0.02)
    warnings.warn("a library warns")
    report(EpochDone(1, 10, {{"epoch": 1, "train_loss": 0.5, "val/top1": 97.25, "seconds": 61.5}}, True))
    print("a result meanwhile")
    report(EpochDone(2, 10, {{"epoch": 2, "train_loss": 0.25, "val/top1": 98.5, "seconds": 61.5}}, False))
    report(Finished("training", "trained 10 epochs"))
print("the result")
"""
_CURSOR = re.compile(r"\x1b\[(\d*[ABCDGHJK]|\?25[lh])")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _lines(screen: str) -> list[str]:
    return [line for line in re.split(r"[\r\n]+", _ESCAPES.sub("", screen)) if line]


def test_a_terminal_has_live_progress_with_rate_time_left_and_loss() -> None:
    screen = run_on_terminal(_RUN.format(mode="auto"))
    assert _CURSOR.search(screen)
    drawn = [line for line in _lines(screen) if line.startswith("epoch  1/10  ")]
    assert any(re.search(r"━  [ \d]+/200  [\d.]+ steps/s  0:0\d left  loss [\d.]+$", line) for line in drawn)
    # The bar keeps its place and its width.
    bars = [bar for line in drawn if (bar := re.search("[━╸╺]+", line))]
    assert {bar.span() for bar in bars} == {(20, 32)}
    table = ["epoch  train loss  top-1 %    time", " 1/10      0.5000    97.25    1:02  best"]
    lines = [line.rstrip() for line in _lines(screen)]
    assert [line for line in lines if line in (*table, " 2/10      0.2500    98.50    1:02")] == [
        *table,
        " 2/10      0.2500    98.50    1:02",
    ]
    assert "trained 10 epochs" in lines
    assert "warning: the teacher is weak" in _lines(screen)
    assert "a result meanwhile" in _lines(screen)
    assert "[bold]model[/bold]" in screen
    assert "UserWarning: a library warns" in screen


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    screen = run_on_terminal(_RUN.format(mode="auto").replace("[bold]model[/bold]", "m"), columns=columns)
    assert max(cell_len(line) for line in _lines(screen)) <= columns
    assert "…" not in screen  # left out rather than cut off


def test_the_terminal_is_left_as_it_was_even_by_a_task_that_never_ended() -> None:
    screen = run_on_terminal(
        _RUN.format(mode="auto").replace('report(Finished("training", "trained 10 epochs"))', "pass")
    )
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
    assert screen.rindex("\x1b[2K") > screen.rindex("steps/s")


def test_standard_output_stays_apart_from_live_progress(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        screen = run_on_terminal(_RUN.format(mode="auto"), stdout=file.fileno())
    assert (tmp_path / "out").read_text(encoding="utf-8") == "a result meanwhile\nthe result\n"
    assert _CURSOR.search(screen)
    assert "result" not in screen


def test_no_color_draws_without_colours() -> None:
    coloured, plain = (run_on_terminal(_RUN.format(mode="auto"), env=env) for env in ({}, {"NO_COLOR": "1"}))
    colour = re.compile(r"\x1b\[[0-9;]*(3[0-7]|4[0-7]|9[0-7]|38;|48;)[0-9;]*m")
    assert colour.search(coloured)
    assert not colour.search(plain)
    assert _CURSOR.search(plain)


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": "dumb", "FORCE_COLOR": "1"}])
def test_a_terminal_that_cannot_redraw_has_plain_lines(env: dict[str, str]) -> None:
    assert "\x1b" not in run_on_terminal(_RUN.format(mode="auto"), env=env)


@pytest.mark.parametrize("mode", ["auto", "plain"])
@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_log_file_has_whole_lines_without_control_codes(mode: str, env: dict[str, str]) -> None:
    command = [sys.executable, "-c", _RUN.format(mode=mode)]
    done = subprocess.run(command, capture_output=True, check=True, env=environment(env), encoding="utf-8")
    assert done.stdout == "a result meanwhile\nthe result\n"
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert (
        "loaded [bold]model[/bold] and its weights, a note that is longer than one line of 80 columns\n" in done.stderr
    )
    assert "epoch  1/10      0.5000    97.25    1:02  best\n" in done.stderr
    assert "trained 10 epochs\n" in done.stderr


def test_plain_progress_can_be_chosen_on_a_terminal() -> None:
    assert "\x1b" not in run_on_terminal(_RUN.format(mode="plain"))


def test_live_progress_can_be_chosen_without_a_terminal() -> None:
    command = [sys.executable, "-c", _RUN.format(mode="rich")]
    done = subprocess.run(command, capture_output=True, check=True, env=environment({}), encoding="utf-8")
    assert _CURSOR.search(done.stderr)


def test_off_shows_nothing() -> None:
    with show_progress(ProgressMode.OFF) as report:
        assert report is ignore


def test_a_process_without_standard_error_runs() -> None:
    code = "import sys; sys.stderr = None" + _RUN.format(mode="auto")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True, env=environment({})
    )
    assert done.stdout == b"a result meanwhile\nthe result\n"


def _events() -> list[Event]:
    return [
        Note("loaded"),
        Started("refitting layers", 2, "layers"),
        Advanced("refitting layers", 1),
        Finished("refitting layers", "refitted 2 layers"),
    ]


def test_from_python_a_terminal_is_drawn_on_and_left_as_it_was() -> None:
    file = io.StringIO()
    report = progress_for_python(Console(file=file, force_terminal=True, force_jupyter=False, width=80))
    for event in _events():
        report(event)
    assert _CURSOR.search(file.getvalue())
    # The report has no end of its own: the cursor is back once no task runs.
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")
    assert {"loaded", "refitted 2 layers"} <= set(_lines(file.getvalue()))


def test_from_python_anything_else_has_plain_lines() -> None:
    file = io.StringIO()
    report = progress_for_python(Console(file=file, force_jupyter=False, force_terminal=False))
    for event in _events():
        report(event)
    assert file.getvalue() == "loaded\nrefitted 2 layers\n"


def test_from_python_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    progress_for_python()(Note("loaded"))
    assert capsys.readouterr() == ("", "loaded\n")
