"""Texts through every command: a table of texts whose class depends on the order of their words."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from dsft.artifact import read_manifest
from dsft.assembly import load_folder
from dsft.models import Builder
from dsft.preprocessing import TextPreprocessing
from dsft.recipe.shipped import recipes_folder
from tests.data.texts import make_texts, write_texts
from tests.runs import Runs
from tests.workshop import dsft

_DENSE = """\
version: 1
name: dense
model: {{source: python, builder: "{folder}/net.py:small"}}
data: {{source: text, root: "{folder}/texts.csv", batch_size: 25, workers: 0}}
optim: {{lr: 1e-2}}
schedule: {{epochs: 3, warmup_epochs: 0}}
train: {{device: cpu}}
output: {{dir: "{folder}/runs/${{name}}"}}
"""
_NET = """
def small(num_tokens):
    return TextCNN(num_tokens, channels=24, maps=16)

def without_tokens(num_words):
    return TextCNN(num_words)
"""


@dataclass(frozen=True)
class Work(Runs):
    """A table of texts, a recipe, and a finished run."""

    @property
    def builder(self) -> tuple[str, str]:
        return ("--builder", f"{(self.folder / 'net.py').as_posix()}:small")

    def outputs(self, inputs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the probabilities of the dense network for numbers of tokens."""
        network = load_folder(self.dense, Builder.parse(self.builder[1]))
        with torch.no_grad():
            found: torch.Tensor = network.module.eval()(torch.from_numpy(inputs)).softmax(1)
        return np.asarray(found)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    work = Work(tmp_path_factory.mktemp("texts"))
    write_texts(work.folder / "texts.csv", make_texts(300))
    (work.folder / "net.py").write_text((recipes_folder() / "text_cnn.py").read_text() + _NET)
    work.recipe.write_text(_DENSE.format(folder=work.folder.as_posix()))
    work.run("train", work.recipe)
    return work


def test_the_network_finds_the_class_by_the_order_of_words(work: Work) -> None:
    found = read_manifest(work.dense / "model").preprocessing
    assert isinstance(found, TextPreprocessing)
    assert {"not", "good", "very", "bad", "."} <= set(found.words)
    assert json.loads((work.dense / "evaluation/test/metrics.json").read_text())["top1"] > 90


def test_the_page_and_the_predictions_have_the_texts(work: Work, tmp_path: Path) -> None:
    rows = [("Not bad <b>.", "neg"), ("Very good.", "neg"), ("Not good.", "neg"), ("Very bad.", "pos")] * 3
    data = f"data.root={write_texts(tmp_path / 'wrong.csv', rows).as_posix()}"
    out = ("--out", tmp_path / "page", "--no-time")
    work.run("evaluate", work.dense, *work.builder, "--data", work.recipe, data, "--split", "test", *out)
    (table,) = tmp_path.rglob("predictions.csv")
    written = list(csv.DictReader(table.read_text().splitlines()))
    assert {row["text"] for row in written} <= {text for text, _ in rows}
    assert not list(tmp_path.rglob("mistakes.png"))
    page = next(tmp_path.rglob("*.html")).read_text()
    wrong = next(row for row in written if row["target"] != row["predicted"])
    assert wrong["text"].replace("<", "&lt;").replace(">", "&gt;") in page


def test_a_run_is_converted_and_fine_tuned(work: Work) -> None:
    recipe = work.folder / "separable.yaml"
    recipe.write_text(
        f'extends: dense.yaml\nname: separable\nmodel: {{source: dsft, path: "{work.dense.as_posix()}/model"}}\n'
        "convert: {budget: {macs: 0.5}, calibration: {images: 32}, recover: {steps: 5}}\n"
        "distill: {teacher: original, logits: 0.5}\nschedule: {epochs: 1}\n"
    )
    work.run("finetune", recipe)
    run = work.folder / "runs" / "separable"
    assert read_manifest(run / "model").preprocessing == read_manifest(work.dense / "model").preprocessing
    plan = json.loads((run / "conversion.json").read_text())
    assert plan["converted"]["macs"] <= 0.5 * plan["original"]["macs"]
    both = work.run("evaluate", work.dense, run, *work.builder, "--no-time", "--json")
    first, second = json.loads(both.stdout)["models"]
    assert first["metrics"]["count"] == second["metrics"]["count"] == 60
    assert second["metrics"]["top1"] > 80
    wrong = dsft("finetune", recipe, "name=other", "data.text={max_words: 3}")
    assert wrong.exit_code == 2
    assert "data.text.max_words: the weights of" in wrong.stderr


@pytest.mark.slow
def test_convert_calibrates_on_texts(work: Work, tmp_path: Path) -> None:
    done = work.run("convert", work.dense, *work.builder, "--budget", "macs=0.5", "--out", tmp_path / "out")
    assert re.search("calibration: [0-9]+ texts", done.stderr)


def test_rows_and_files_are_predicted_as_by_hand(work: Work, tmp_path: Path) -> None:
    texts = ["It was not good!", "Not bad, VERY good", "zebra"]
    table = write_texts(tmp_path / "new.csv", [(text, "") for text in [*texts, " "]], ("text", "note"))
    (tmp_path / "single.txt").write_text(texts[0], encoding="utf-8")
    done = dsft("predict", work.dense, table, tmp_path / "single.txt", *work.builder, "--format", "csv")
    assert done.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["path"].rpartition("/")[2] for row in rows] == ["new.csv:2", "new.csv:3", "new.csv:4", "single.txt"]
    assert "new.csv:5: a text must have characters other than spaces" in done.stderr
    found = read_manifest(work.dense / "model").preprocessing
    assert isinstance(found, TextPreprocessing)
    numbers = {word: number for number, word in enumerate(found.words, 2)}
    tokens = [["it", "was", "not", "good", "!"], ["not", "bad", ",", "very", "good"], ["zebra"]]
    inputs = np.zeros((3, found.length), np.int64)
    for row, words in zip(inputs, tokens, strict=True):
        row[: len(words)] = [numbers.get(word, 1) for word in words]
    expected = work.outputs(inputs).max(1)
    shown = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(shown, [*expected, expected[0]], atol=1e-5)


def test_an_exported_file_takes_numbers_of_tokens(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    done = work.run("export", work.dense, *work.builder, "--out", out)
    assert "same top-1 on 100.00%" in done.stdout + done.stderr
    described = json.loads(Path(f"{out}.json").read_text())
    shown, preprocessing = described["input"], described["preprocessing"]
    assert (shown["shape"], shown["dtype"], shown["layout"]) == (["batch", preprocessing["length"]], "int64", "NL")
    steps = {step["op"]: step for step in preprocessing["steps"]}
    words = re.findall(steps["tokenize"]["pattern"], "It was not good!".lower())
    known = {word: number for number, word in enumerate(preprocessing["words"], steps["number_tokens"]["first"])}
    inputs = np.full((1, steps["cut_or_pad"]["length"]), steps["cut_or_pad"]["padding"], np.int64)
    inputs[0, : len(words)] = [known.get(word, steps["number_tokens"]["unknown"]) for word in words]
    found = torch.from_numpy(onnxruntime.InferenceSession(out).run(None, {shown["name"]: inputs})[0])
    np.testing.assert_allclose(found.softmax(1).numpy(), work.outputs(inputs), atol=1e-5)
    (tmp_path / "one.txt").write_text("It was not good!", encoding="utf-8")
    row = next(csv.DictReader(io.StringIO(work.run("predict", out, tmp_path / "one.txt", "--format", "csv").stdout)))
    assert float(row["probability"]) == pytest.approx(float(found.softmax(1).max()), abs=1e-5)


def test_data_are_checked(work: Work, tmp_path: Path) -> None:
    rows = [(text, label, "train") for text, label in make_texts(40)]
    held_out = [("a quokka WAS seen", "pos", "test"), (rows[0][0].upper() + "  ", "neg", "test"), ("", "neg", "test")]
    table = write_texts(tmp_path / "texts.csv", [*rows, *held_out], ("text", "label", "split"))
    command = ("data", "check", work.recipe, f"data.root={table.as_posix()}")
    done = dsft(*command, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [entry["key"] for entry in found["corrupt"]] == ["44"]
    assert [{place["key"] for place in leak} for leak in found["leaks"]] == [{"02", "43"}]
    tokens = len(rows[0][0].split()) + 1
    assert found["splits"]["test"]["tokens"] == [4, 4, tokens]
    assert found["splits"]["test"]["unknown"] == pytest.approx(2 / (4 + tokens))
    assert re.search(r"split +texts +corrupt +token +unknown %", dsft(*command).stdout)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["augment.mixup=0.2"], "augment.mixup: is for images, signals and clips, and source text has texts"),
        (["augment.hflip=0.5"], "augment.hflip: is for images, signals and clips, and source text has texts"),
        (["model.in_chans=3"], "model.in_chans: a text has no channels"),
        (["data.image_size=32"], "data.image_size: requires source"),
        (["data.text={min_count: 100000}"], "no word occurs 100000 times"),
        (["data.source=digits", "~data.root"], "which needs num_tokens"),
        (["task=segmentation"], "task segmentation needs"),
    ],
)
def test_what_texts_cannot_have_is_an_error(work: Work, changes: list[str], message: str) -> None:
    done = dsft("train", work.recipe, "name=wrong", *changes)
    assert done.exit_code == 2
    assert re.search(message, " ".join(done.stderr.split()))


def test_an_empty_text_stops_a_run_or_is_skipped(work: Work, tmp_path: Path) -> None:
    table = write_texts(tmp_path / "texts.csv", [*make_texts(60), ("", "pos")])
    change = (f"data.root={table.as_posix()}", "schedule.epochs=1", f"output.dir={(tmp_path / 'run').as_posix()}")
    stopped = dsft("train", work.recipe, *change)
    assert stopped.exit_code == 2
    assert "texts.csv:62: a text must have characters other than spaces, found ''" in " ".join(stopped.stderr.split())
    work.run("train", work.recipe, *change, "data.bad_images=skip", "--overwrite")


def test_a_builder_that_asks_for_something_else_is_refused(work: Work) -> None:
    builder = f"model.builder={(work.folder / 'net.py').as_posix()}:without_tokens"
    done = dsft("train", work.recipe, "name=wrong", builder)
    assert done.exit_code == 2
    assert "with num_tokens as its only argument, found without_tokens(num_words)" in " ".join(done.stderr.split())


@pytest.mark.slow
def test_a_run_that_is_killed_is_resumed_to_the_same_weights(work: Work) -> None:
    work.check_resume()
