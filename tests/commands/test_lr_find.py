from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.workshop import Workshop, contents, dsft


def test_it_suggests_a_rate_and_draws_the_loss(workshop: Workshop, here: Path) -> None:
    before = contents(workshop.dense.parents[1])
    done = dsft("lr-find", workshop.separable_recipe, "--steps", "30", "--low", "1e-5", "--progress", "off")
    assert done.exit_code == 0, done.stderr
    assert set(contents(here)) == {"lr-find.png"}
    assert contents(workshop.dense.parents[1]) == before
    assert done.stdout.splitlines()[-1] == "plot: lr-find.png"
    with Image.open(here / "lr-find.png") as picture:
        assert picture.width > 400
    again = dsft("lr-find", workshop.separable_recipe, "--steps", "30", "--low", "1e-5")
    assert again.exit_code == 2
    assert "exists. Choose another name, or replace it with --overwrite" in again.stderr


def test_its_json_has_every_step(workshop: Workshop, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "picture.png"
    done = dsft("lr-find", workshop.dense_recipe, "--steps", "12", "--high", "1e-2", "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) == 12
    assert found["rates"][-1] == pytest.approx(1e-2)
    assert out.is_file()


def test_the_range_must_rise(workshop: Workshop, here: Path) -> None:
    for arguments in (["--low", "1", "--high", "0.1"], ["--low", "0"], ["--steps", "3"]):
        done = dsft("lr-find", workshop.dense_recipe, *arguments)
        assert done.exit_code == 2
        assert "must be an increasing range above 0 and at least 10 steps" in done.stderr
    assert contents(here) == {}
