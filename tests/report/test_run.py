from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from dsft.errors import InputError
from dsft.report import write_report
from dsft.report.finished_run import read_run
from tests.report.test_page import Parsed
from tests.workshop import CLASSES, Workshop, dsft

_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")


def page_of(run: Path) -> Parsed:
    return Parsed((run / "report.html").read_text(encoding="utf-8"))


def test_every_run_has_a_page_with_its_scores_costs_and_pictures(workshop: Workshop) -> None:
    page = page_of(workshop.separable)
    metrics = json.loads((workshop.separable / "evaluation" / "test" / "metrics.json").read_text(encoding="utf-8"))
    conversion = json.loads((workshop.separable / "conversion.json").read_text(encoding="utf-8"))
    assert f"{metrics['top1']:.2f} %" in page.words
    assert {f"{metrics[name]:.4f}" for name in ("loss", "brier")} <= set(page.words)
    assert {f"{100 * metrics[name]:.2f}" for name in ("ece", "macro_f1")} <= set(page.words)
    assert {"original", "converted, untrained", "fine-tuned", "separable", "Layers"} <= set(page.words)
    assert {f"x {conversion['converted']['macs'] / conversion['original']['macs']:.3f}"} <= set(page.words)
    assert {layer["name"] for layer in conversion["layers"]} <= set(page.words)
    assert set(CLASSES) <= set(page.words)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) >= 7
    assert all(len(attributes["alt"] or "") > 20 for attributes in pictures)


def test_a_run_without_conversion_has_no_part_for_it(workshop: Workshop) -> None:
    page = page_of(workshop.dense)
    assert "Layers" not in page.words
    assert {"Training", "trained"} <= set(page.words)
    assert {path.name for path in (workshop.dense / "plots").iterdir()} == {"losses.png", "scores.png"}
    plots = {path.name for path in (workshop.separable / "plots").iterdir()}
    assert plots == {"losses.png", "scores.png", "layers.png"}


def test_the_epoch_that_was_kept_is_the_one_that_the_checkpoint_is_of(workshop: Workshop) -> None:
    for folder in (workshop.dense, workshop.separable):
        run = read_run(folder)
        scores = [values["val/top1"] for values in run.history]
        assert run.best["epoch"] == 1 + scores.index(max(scores))
        assert f"epoch {run.best['epoch']:.0f}, selected by val/top1 = {max(scores):.4g}" in page_of(folder).words


def test_mistaken_pairs_are_counted(workshop: Workshop, tmp_path: Path) -> None:
    copy = shutil.copytree(workshop.separable, tmp_path / "run")
    answers = [("ant", "bee")] * 3 + [("bee", "ant")] * 2 + [("cat", "cat")] * 4 + [("cat", "ant")]
    lines = [f"{row}.png,{target},{guess},0.{row:02d}" for row, (target, guess) in enumerate(answers)]
    path = copy / "evaluation" / "test" / "predictions.csv"
    path.write_text("\n".join(["key,target,predicted,probability", *lines, ""]), encoding="utf-8")
    write_report(copy)
    words = [word for word in page_of(copy).words if word.strip()]
    start = words.index("Confused classes")
    shown = [tuple(words[at : at + 3]) for at in range(start, len(words))]
    assert {("ant", "bee", "3"), ("bee", "ant", "2"), ("cat", "ant", "1")} <= set(shown)
    # The most confident comes first.
    first = words.index("Mistakes, most confident first (6 of 6)")
    keys = [word for word in words[first:] if word.endswith(".png")][:6]
    assert keys == ["9.png", "4.png", "3.png", "2.png", "1.png", "0.png"]


def test_the_page_is_made_again_from_the_runs_own_files_alone(workshop: Workshop, tmp_path: Path) -> None:
    copy = shutil.copytree(workshop.separable, tmp_path / "elsewhere")
    for name in ("checkpoints", "plots"):
        shutil.rmtree(copy / name)
    (copy / "report.html").unlink()
    before = (workshop.separable / "report.html").read_text(encoding="utf-8")
    done = dsft("report", copy)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(copy / "report.html")
    again = (copy / "report.html").read_text(encoding="utf-8").replace(copy.as_posix(), workshop.separable.as_posix())
    # The pictures of the first page are blank, see the fixtures of all tests.
    assert _PICTURE.sub("", again) == _PICTURE.sub("", before)
    assert len(_PICTURE.findall(again)) == len(_PICTURE.findall(before)) > 3


def test_class_names_are_escaped(workshop: Workshop, tmp_path: Path) -> None:
    copy = shutil.copytree(workshop.separable, tmp_path / "run")
    evil = "<script>alert(1)</script>"
    for path in (copy / "evaluation").glob("*/*.*"):
        if path.suffix in (".json", ".csv"):
            path.write_text(path.read_text(encoding="utf-8").replace("ant", evil), encoding="utf-8")
    write_report(copy)
    page = page_of(copy)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert evil in page.words


def test_a_folder_that_is_no_finished_run_is_an_error(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the folder of a finished run, but recipe\.yaml is missing"):
        write_report(tmp_path)
    copy = shutil.copytree(workshop.dense, tmp_path / "run")
    shutil.rmtree(copy / "model")
    done = dsft("report", copy)
    assert done.exit_code == 2
    assert "model/manifest.json is missing. Give the output folder of dsft train or dsft finetune" in done.stderr


def test_a_run_from_a_model_folder_names_its_network_and_image_size(workshop: Workshop) -> None:
    for folder, origin in (
        (workshop.dense, "randomly initialized"),
        (workshop.separable, f"weights from {workshop.dense.as_posix()}/model"),
    ):
        page = page_of(folder)
        assert f"timm/test_resnet, {origin}" in page.words
        assert "32 x 32 pixels, 3 channels" in page.words


def test_times_stand_beside_the_scores(workshop: Workshop) -> None:
    conversion = json.loads((workshop.separable / "conversion.json").read_text(encoding="utf-8"))
    before, after = conversion["original"]["latency_ms"], conversion["converted"]["latency_ms"]
    latencies = read_run(workshop.separable).latencies
    assert latencies == {
        "original": before,
        "converted, untrained": after,
        "fine-tuned": after,
    }
    assert "latency ms" in page_of(workshop.separable).words
    assert read_run(workshop.dense).latencies == {}


def test_losses_are_comparable_without_distillation(workshop: Workshop) -> None:
    assert read_run(workshop.dense).has_plain_loss
    assert not read_run(workshop.separable).has_plain_loss
