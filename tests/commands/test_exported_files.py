"""Exported files beside the model folders that they come from: evaluated, and asked about images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from dsft.choices import Runtime
from dsft.runtimes import FILE_FORMATS, why_unusable
from dsft.storage import sha256_of
from tests.workshop import Workshop, dsft

FOREIGN = [(runtime, found.suffix) for runtime, found in FILE_FORMATS.values() if runtime is not Runtime.EAGER]


@pytest.fixture(scope="module", params=FOREIGN, ids=[str(runtime) for runtime, _ in FOREIGN])
def file(request: pytest.FixtureRequest, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converted model as a file of each runtime that is installed."""
    runtime, suffix = request.param
    if (reason := why_unusable(runtime)) is not None:
        pytest.skip(reason)
    path: Path = tmp_path_factory.mktemp("exported") / f"separable{suffix}"
    done = dsft("export", workshop.separable, "--out", path, "--images", "12")
    assert done.exit_code == 0, done.stderr
    assert "same top-1 on 100.00%" in done.stdout
    return path


def test_a_file_scores_as_its_model_does(workshop: Workshop, file: Path) -> None:
    data = workshop.separable_recipe
    done = dsft("evaluate", workshop.separable, file, "--data", data, "--split", "val", "--no-time", "--json")
    assert done.exit_code == 0, done.stderr
    folder, exported = json.loads(done.stdout)["models"]
    assert exported["metrics"]["top1"] == folder["metrics"]["top1"]
    assert exported["metrics"]["nll"] == pytest.approx(folder["metrics"]["nll"], abs=1e-4)
    assert (exported["params"], exported["macs"]) == (folder["params"], folder["macs"])
    assert exported["memory_bytes"] is None
    files = [path for path in file.parent.iterdir() if path.suffix != ".json"]
    assert exported["file_bytes"] == sum(path.stat().st_size for path in files)
    # The images selected the model, which only its record of them tells.
    assert "separable: " in done.stderr
    assert f"{file}: " in done.stderr


def test_a_file_is_timed_in_its_runtime(workshop: Workshop, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = dsft("evaluate", workshop.separable, file, "--data", workshop.separable_recipe, "--time", "--out", out)
    assert done.exit_code == 0, done.stderr
    for row in json.loads((out / "models.json").read_text(encoding="utf-8"))["models"]:
        assert row["latency_ms"] > 0
    assert (out / "report.html").is_file()


def test_a_file_predicts_what_its_model_predicts(workshop: Workshop, file: Path) -> None:
    of_folder, of_file = (
        [
            json.loads(line)
            for line in dsft("predict", model, workshop.pictures, "--format", "jsonl").stdout.splitlines()
        ]
        for model in (workshop.separable, file)
    )
    assert len(of_file) == len(of_folder) == 48
    for expected, found in zip(of_folder, of_file, strict=True):
        (best,), (other,) = expected["predictions"], found["predictions"]
        assert (expected["path"], best["class"]) == (found["path"], other["class"])
        assert best["probability"] == pytest.approx(other["probability"], abs=1e-4)


def test_no_folder_of_the_machine_is_published(workshop: Workshop, file: Path) -> None:
    description = Path(f"{file}.json").read_text(encoding="utf-8")
    assert str(workshop.pictures) not in description
    done = dsft("evaluate", file)
    assert done.exit_code == 2
    assert "does not say where its data is" in done.stderr


@pytest.fixture
def onnx(workshop: Workshop, tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    done = dsft("export", workshop.separable, "--out", path, "--images", "2")
    assert done.exit_code == 0, done.stderr
    return path


def test_invalid_files_are_errors(workshop: Workshop, onnx: Path) -> None:
    def found(path: Path) -> str:
        done = dsft("predict", path, workshop.pictures)
        assert done.exit_code == 2
        return done.stderr

    other = Path(shutil.copy(onnx, onnx.with_name("other.onnx")))
    assert "'other.onnx.json' is missing" in found(other).replace(f"{onnx.parent}/", "")
    description = Path(f"{onnx}.json")
    values = json.loads(description.read_text(encoding="utf-8"))
    for key in ("trainings", "spec"):
        description.write_text(json.dumps({name: value for name, value in values.items() if name != key}))
        assert f"does not say {key}. Export the model again" in found(onnx)
    description.write_text("{")
    assert "is damaged" in found(onnx)
    description.write_text(json.dumps(values))
    onnx.write_bytes(onnx.read_bytes()[:-1])
    assert "differs from what model.onnx.json describes" in found(onnx)


def test_a_file_of_another_runtime_is_an_error(workshop: Workshop, onnx: Path) -> None:
    values = json.loads(Path(f"{onnx}.json").read_text(encoding="utf-8"))
    onnx.write_text("<?xml version='1.0'?><net name='x' version='11'/>")
    Path(f"{onnx}.json").write_text(json.dumps({**values, "checksums": {".onnx": sha256_of(onnx)}}))
    done = dsft("predict", onnx, workshop.pictures)
    assert done.exit_code == 2
    assert "ONNX Runtime cannot run 'model.onnx'" in done.stderr


def test_a_program_of_torch_is_not_loaded(workshop: Workshop, tmp_path: Path) -> None:
    # It may contain pickled code.
    torch.save(torch.zeros(1), tmp_path / "model.pt2")
    done = dsft("predict", tmp_path / "model.pt2", workshop.pictures)
    assert done.exit_code == 2
    assert "or an exported file with the suffix .onnx, .xml, .pte, found another file. Give the folder" in done.stderr


def test_images_with_another_number_of_channels_are_errors(onnx: Path, workshop: Workshop) -> None:
    description = Path(f"{onnx}.json")
    values = json.loads(description.read_text(encoding="utf-8"))
    values["preprocessing"] |= {"channels": 1, "mean": [0.5], "std": [0.5]}
    description.write_text(json.dumps(values))
    done = dsft("predict", onnx, workshop.pictures)
    assert done.exit_code == 2
    assert "onnxruntime cannot run inputs of shape (48, 1, 32, 32)" in done.stderr
