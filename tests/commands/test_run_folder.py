from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dsft.assembly import Verb, prepare_experiment
from dsft.commands import run_folder
from dsft.commands.run_folder import RunFolder
from dsft.commands.run_record import describe_run
from dsft.errors import OutputError
from dsft.progress import ignore
from dsft.recipe import load_recipe
from dsft.run_files import resume_command
from tests.workshop import Workshop, contents, dsft


def test_only_an_earlier_run_is_free_to_be_overwritten(workshop: Workshop, here: Path) -> None:
    recipe = load_recipe(str(workshop.dense_recipe))
    shutil.copytree(workshop.dense, here / "out")
    before = contents(here)
    folder = RunFolder(here / "out")
    folder.require_free(recipe, overwrite=True)
    with pytest.raises(OutputError, match="--overwrite"):
        folder.require_free(recipe, overwrite=False)
    assert contents(here) == before
    (here / "out" / "run.json").unlink()
    with pytest.raises(OutputError, match=r"there is no recipe\.yaml and run\.json"):
        folder.require_free(recipe, overwrite=True)


@pytest.mark.parametrize("change", ["model.path=out/model", "distill.teacher=out/model", "data.root=out"])
def test_a_run_that_this_one_needs_is_not(workshop: Workshop, here: Path, change: str) -> None:
    shutil.copytree(workshop.dense, here / "out")
    recipe = load_recipe(str(workshop.separable_recipe), [change])
    with pytest.raises(OutputError, match=f"contains '{change.partition('=')[2]}', which this command reads"):
        RunFolder(Path("out")).require_free(recipe, overwrite=True)


def test_a_run_that_began_meanwhile_is_not_removed(workshop: Workshop, here: Path) -> None:
    recipe = load_recipe(str(workshop.dense_recipe))
    shutil.copytree(workshop.dense, here / "out")
    before = contents(here)
    with pytest.raises(OutputError, match="--overwrite"):
        RunFolder(here / "out").claim(recipe, overwrite=False)
    assert contents(here) == before


def test_the_folder_that_an_earlier_run_is_in_stays(
    workshop: Workshop, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = prepare_experiment(load_recipe(str(workshop.dense_recipe)), Verb.TRAIN, ignore)
    shutil.copytree(workshop.dense, here / "out")
    monkeypatch.chdir(here / "out")
    folder = RunFolder(Path())
    folder.claim(experiment.recipe, overwrite=True)
    assert list((here / "out").iterdir()) == []
    folder.begin(experiment.recipe, describe_run(experiment, Verb.TRAIN), experiment.data.splits.index(), None)
    assert sorted(path.name for path in (here / "out").iterdir()) == ["recipe.yaml", "run.json", "splits.json"]


def test_the_command_that_resumes_can_be_pasted_into_a_shell(workshop: Workshop, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(workshop.dense, tmp_path / "my runs" / "été"))
    assert shlex.split(resume_command(folder)) == ["dsft", "train", folder.as_posix(), "--resume"]


HOLD = """
import sys
from pathlib import Path
from dsft.commands.run_folder import RunFolder
with RunFolder(Path("runs") / "out").held():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["--resume", "--overwrite"])
def test_a_folder_that_another_process_writes_is_left_alone(
    way: str, workshop: Workshop, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = here / "runs" / "out"
    shutil.copytree(workshop.separable, out)
    words = ("finetune", workshop.separable_recipe, f"output.dir={out}", way)
    before = contents(out)
    monkeypatch.setattr(run_folder, "PATIENCE", 0.1)
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=-1, stdout=-1, text=True, cwd=here) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        done = dsft(*words)
        assert done.exit_code == 2, done.stderr
        assert "another process is writing a run there" in " ".join(done.stderr.split())
        assert contents(out) == before
        # A check writes nothing; and the system frees what a killed process held.
        assert dsft(*words[:-1], "--dry-run").exit_code == 0
        other.kill()
    with RunFolder(out).held():
        pass
