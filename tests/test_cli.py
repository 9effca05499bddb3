from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dsft.cli.app import ORDER
from dsft.commands import recipes
from dsft.recipe import json_schema, load_recipe, recipe_reference, shipped_recipes
from tests.workshop import Workshop, dsft

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "torchvision", "timm", "numpy", "sklearn", "matplotlib", "PIL", "yaml"]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# Runs --help of every command there is, and says what that loaded.
_HELP = f"""
import sys
from typer.main import get_command
from typer.testing import CliRunner
from dsft.cli import app

def paths(command, path=()):
    yield path
    for name, inner in getattr(command, "commands", {{}}).items():
        yield from paths(inner, (*path, name))

for path in paths(get_command(app)):
    for flag in ("--help", "-h"):
        result = CliRunner().invoke(app, [*path, flag])
        assert result.exit_code == 0 and "Usage:" in result.stdout, (path, result.output)
    print(" ".join(path))
assert CliRunner().invoke(app, ["--version"]).exit_code == 0
print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""


def process(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        [sys.executable, "-m", "dsft", *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment},
        check=False,
    )


def test_help_of_every_command_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]\n"
    commands = done.stdout.splitlines()
    # Each command has a place among those that --help lists.
    assert {command.split()[0] for command in commands if command} == set(ORDER)
    assert {"train", "finetune", "convert", "evaluate", "recipes ls", "recipes schema"} <= set(commands)


def test_help_lists_the_main_jobs_first() -> None:
    shown = dsft("--help").stdout.partition("Commands")[2]
    # Below a command its words go on, further to the right.
    assert re.findall(r"^\W? ?([a-z-]+)  ", shown, re.MULTILINE) == list(ORDER)


@pytest.mark.parametrize("command", [[], ["train"], ["data", "check"]])
def test_help_shows_no_type_for_flags(command: list[str]) -> None:
    shown = dsft(*command, "--help").stdout
    assert "--help" in shown
    assert "bool" not in shown.lower()


def test_a_shell_completes_commands_and_options() -> None:
    for words, expected in (("dsft tr", "train"), ("dsft train --ov", "--overwrite")):
        asked = {"_DSFT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        script = Path(sys.executable).with_name("dsft")
        environment = {**os.environ, **asked, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([script], capture_output=True, text=True, env=environment, check=False)
        assert done.stdout.strip() == expected, done.stderr


def test_the_version_is_the_packages() -> None:
    done = dsft("--version")
    assert (done.exit_code, done.stdout.strip()) == (0, importlib.metadata.version("dsft"))


def test_python_runs_the_module() -> None:
    done = process("--version")
    assert (done.returncode, done.stdout.strip()) == (0, importlib.metadata.version("dsft"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument 'RECIPE'"),
        (["evaluate"], "Missing argument 'MODEL'"),
        (["train", "digits_dense", "--fast"], "No such option"),
        (["evaluate", "runs/a", "--split", "all"], "is not one of"),
        (
            ["convert", "timm/resnet18", "--rank", "1", "--method", "svg", "--out", "x"],
            "one of auto, fresh, svd, refit",
        ),
        (["train", "digits_dense", "--progress", "loud"], "is not one of"),
    ],
)
def test_a_command_that_is_misused_exits_with_2(here: Path, arguments: list[str], message: str) -> None:
    done = dsft(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())
    assert list(here.iterdir()) == []


class TestErrors:
    def test_are_one_message_on_standard_error(self, here: Path) -> None:
        done = process("train", "nothere.yaml", cwd=here)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: no recipe 'nothere.yaml': no such file")
        assert done.stderr.count("\n") == 1

    def test_have_a_traceback_with_debug(self, here: Path) -> None:
        done = process("--debug", "train", "nothere.yaml", cwd=here)
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "RecipeError: no recipe 'nothere.yaml'" in done.stderr

    def test_that_nobody_foresaw_ask_for_a_report(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr(recipes, "listing", fail)
        done = dsft("recipes", "ls")
        assert done.exit_code == 1
        assert "error: unexpected ZeroDivisionError: division by zero." in done.stderr
        assert "dsft --debug" in done.stderr

    def test_of_the_system_are_told(self, here: Path) -> None:
        (here / "file").touch()
        done = dsft("recipes", "cp", "quickstart", "file/mine.yaml")
        assert done.exit_code == 1
        assert done.stderr.startswith("error: the operating system reports: ")

    def test_a_closed_pipe_is_no_error(self) -> None:
        command = f"{sys.executable} -m dsft recipes schema | head -n 1"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False)  # noqa: S602
        assert done.stdout.startswith("###")
        assert done.stderr == ""


class TestOutput:
    def test_results_and_progress_are_kept_apart(self, workshop: Workshop, here: Path) -> None:
        done = dsft("train", workshop.dense_recipe, "output.dir=out", "schedule.epochs=1")
        assert done.exit_code == 0, done.stderr
        assert "epoch 1/1" in done.stderr
        assert "macro mean" in done.stdout
        assert "run folder: out" in done.stdout
        assert "epoch" not in done.stdout
        assert "macro mean" not in done.stderr
        assert "epoch 1/1" in (here / "out" / "train.log").read_text(encoding="utf-8")

    @pytest.mark.usefixtures("here")
    def test_json_is_all_there_is_on_standard_output(self, workshop: Workshop) -> None:
        train = ["train", str(workshop.dense_recipe), "output.dir=out", "schedule.epochs=1", "--json"]
        # Libraries write where they like, which only a process of its own shows.
        done = process(*train)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert list(result) == ["folder", "plan", "conversion", "best_epoch", "weights", "scores"]
        assert (result["folder"], result["best_epoch"], result["weights"]) == ("out", 1, "raw")
        written = json.loads(Path("out/evaluation/test/metrics.json").read_text(encoding="utf-8"))
        assert result["scores"]["test"] == written

    @pytest.mark.usefixtures("here")
    @pytest.mark.parametrize(
        ("arguments", "keys"),
        [
            (["evaluate", "RUN"], ["measured_on", "models"]),
            (
                ["convert", "RUN", "--rank", "1", "--out", "new"],
                ["verdict", "original", "converted", "measured_on", "layers", "trials", "recovery", "data_dependent"],
            ),
            (["recipes", "schema"], list(json_schema())),
        ],
    )
    def test_so_it_is_for_every_command_that_has_it(
        self, workshop: Workshop, arguments: list[str], keys: list[str]
    ) -> None:
        done = dsft(*(str(workshop.dense) if word == "RUN" else word for word in arguments), "--json")
        assert done.exit_code == 0, done.stderr
        assert list(json.loads(done.stdout)) == keys

    @pytest.mark.usefixtures("here")
    def test_json_says_nothing_of_what_failed(self, workshop: Workshop) -> None:
        done = dsft("train", workshop.dense_recipe, "output.dir=out", "optim.opt=adamwz", "--json")
        assert (done.exit_code, done.stdout) == (2, "")

    @pytest.mark.usefixtures("here")
    @pytest.mark.parametrize("quiet", [["--progress", "off"], ["log.progress=off"]])
    def test_progress_can_be_off(self, workshop: Workshop, quiet: list[str]) -> None:
        done = dsft("train", workshop.dense_recipe, "output.dir=out", "--dry-run", *quiet)
        assert (done.exit_code, done.stderr) == (0, "")

    @pytest.mark.usefixtures("here")
    def test_the_flag_for_progress_beats_the_recipe(self, workshop: Workshop) -> None:
        arguments = ["train", str(workshop.dense_recipe), "output.dir=out", "--dry-run", "log.progress=off"]
        assert "dry run" in dsft(*arguments, "--progress", "plain").stderr

    def test_no_color_is_honoured(self) -> None:
        pytest.importorskip("pty", reason="needs a pseudo terminal")
        from tests.console.terminal import run_on_terminal

        for arguments in (["recipes", "ls"], ["--help"], ["train", "nothere.yaml"]):
            code = (
                "import contextlib, sys; sys.argv[1:] = " + repr(arguments) + "\n"
                "from dsft.__main__ import main\n"
                "with contextlib.suppress(SystemExit): main()"
            )
            plain = run_on_terminal(code, env={"NO_COLOR": "1"})
            assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])[0-9;]*m", plain), arguments
        assert COLOUR.search(run_on_terminal(code))


class TestRecipes:
    def test_ls_names_every_command_to_type(self) -> None:
        done = dsft("recipes", "ls")
        assert done.exit_code == 0
        for recipe in shipped_recipes():
            assert any(line.startswith(f"dsft {recipe.verb} {recipe.name} ") for line in done.stdout.splitlines())

    def test_show_is_the_text_with_its_comments(self) -> None:
        assert dsft("recipes", "show", "quickstart").stdout == recipes.text("quickstart")
        done = dsft("recipes", "show", "quickstrat")
        assert done.exit_code == 2
        assert "Did you mean quickstart?" in done.stderr

    def test_cp_gives_a_recipe_to_change(self, here: Path) -> None:
        done = dsft("recipes", "cp", "quickstart")
        assert (done.exit_code, done.stdout) == (0, "quickstart.yaml\n")
        assert load_recipe("quickstart.yaml") == load_recipe("quickstart")
        done = dsft("recipes", "cp", "quickstart", "mine/first.yaml")
        assert (done.exit_code, Path(done.stdout.strip())) == (0, Path("mine/first.yaml"))
        assert load_recipe("mine/first.yaml").output.dir == "runs/first"
        (here / "quickstart.yaml").write_text("precious", encoding="utf-8")
        done = dsft("recipes", "cp", "quickstart")
        assert done.exit_code == 2
        assert "'quickstart.yaml' exists" in done.stderr
        assert (here / "quickstart.yaml").read_text(encoding="utf-8") == "precious"
        assert dsft("recipes", "cp", "quickstart", "--overwrite").exit_code == 0
        assert load_recipe("quickstart.yaml") == load_recipe("quickstart")

    def test_check_prints_one_line_for_a_valid_recipe(self) -> None:
        done = dsft("recipes", "check", "quickstart", "optim.lr=1e-4")
        assert (done.exit_code, done.stdout, done.stderr) == (0, "quickstart: valid\n", "")

    def test_the_resolved_recipe_reads_back_the_same(self, here: Path) -> None:
        done = dsft("recipes", "check", "quickstart", "optim.lr=1e-4", "~ema", "--resolved")
        assert done.exit_code == 0
        (here / "resolved.yaml").write_text(done.stdout, encoding="utf-8")
        resolved = load_recipe("resolved.yaml")
        assert resolved == load_recipe("quickstart", ["optim.lr=1e-4", "~ema"])
        assert (resolved.optim.lr, resolved.ema) == (1e-4, None)

    def test_check_reports_every_problem(self, here: Path) -> None:
        shutil.copy(ROOT / "recipes" / "quickstart.yaml", here / "mine.yaml")
        done = dsft("recipes", "check", "mine.yaml", "optim.lrr=1", "schedule.epochs=0")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "2 problems:" in done.stderr
        assert "Did you mean optim.lr?" in done.stderr
        assert "schedule.epochs: expected an integer >= 1, found 0" in done.stderr

    def test_schema_is_the_reference_or_json(self) -> None:
        assert dsft("recipes", "schema").stdout.strip() == recipe_reference().strip()
        assert json.loads(dsft("recipes", "schema", "--json").stdout) == json_schema()
