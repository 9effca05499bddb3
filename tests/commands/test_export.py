from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import dsft as library
from dsft.assembly import Source
from dsft.assembly.exported_file import stored_bytes
from dsft.commands import export
from dsft.errors import CheckpointError, ExportError, InputError
from dsft.progress import ignore
from dsft.runtimes import OnnxSession, fold_norms, tracing
from dsft.storage import sha256_of
from tests.onnx_files import operator_types
from tests.preprocessing_by_hand import load_by_hand
from tests.workshop import CLASSES, Workshop, contents, dsft
from tests.zoo import Residual, redraw

STEPS = ["decode", "resize", "center_crop", "to_float32", "normalize", "layout"]
OF_SEPARABLE_LAYERS = {"Conv", "Concat", "Split", "Slice", "Gather", "Add"}


def exported(model: Path, out: str, *options: str) -> tuple[str, dict[str, Any]]:
    """Export into the working folder; return what was printed and the description."""
    done = dsft("export", model, "--out", out, *options)
    assert done.exit_code == 0, done.stderr
    return done.stdout, json.loads(Path(f"{out}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX files of both models; tests read them."""
    folder = tmp_path_factory.mktemp("files")
    for model in ("dense", "separable"):
        done = dsft("export", getattr(workshop, model), "--out", folder / f"{model}.onnx")
        assert done.exit_code == 0, done.stderr
        assert "same top-1 on 100.00%" in done.stdout
    return folder


def test_an_onnx_file_computes_the_models_logits_for_any_batch_size(workshop: Workshop, files: Path) -> None:
    session, model = OnnxSession(files / "separable.onnx"), library.load(workshop.separable / "model")
    for count in (1, 7):
        images = torch.randn(count, 3, 32, 32)
        with torch.inference_mode():
            torch.testing.assert_close(session(images), model(images), rtol=1e-4, atol=1e-5)
    assert {path.name for path in files.glob("separable*")} == {"separable.onnx", "separable.onnx.json"}


def test_the_description_says_how_to_feed_it(workshop: Workshop, files: Path) -> None:
    described = json.loads((files / "separable.onnx.json").read_text(encoding="utf-8"))
    shape = ["batch", 3, 32, 32]
    assert described["input"] == {"name": "images", "shape": shape, "dtype": "float32", "layout": "NCHW"}
    assert described["classes"] == ["ant", "bee", "cat"]
    manifest = json.loads((workshop.separable / "model" / "manifest.json").read_text(encoding="utf-8"))
    steps = described["preprocessing"].pop("steps")
    assert described["preprocessing"] == manifest["preprocessing"]
    assert [step["op"] for step in steps] == STEPS
    assert described["sha256"] == sha256_of(files / "separable.onnx")


def test_a_converted_model_needs_few_operators_beyond_those_of_its_original(files: Path) -> None:
    dense, separable = operator_types(files / "dense.onnx"), operator_types(files / "separable.onnx")
    assert "BatchNormalization" not in dense | separable
    assert separable - dense <= OF_SEPARABLE_LAYERS
    assert not [operator for operator in separable if "::" in operator]


@pytest.mark.usefixtures("here")
def test_a_torch_export_program_needs_torch_alone(workshop: Workshop) -> None:
    printed, described = exported(workshop.separable, "out.pt2")
    assert "batch norms folded: " in printed
    assert described["format"] == "torch-export"
    program = torch.export.load("out.pt2").module()
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected = library.load(workshop.separable / "model")(images)
        torch.testing.assert_close(program(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("here")
def test_python_exports_a_model_folder(workshop: Workshop) -> None:
    result = library.export(workshop.separable, "out.onnx", data=workshop.pictures, images=9)
    assert (result.parity.images, result.parity.agreement) == (9, 1)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = library.load(workshop.separable / "model")(images)
    torch.testing.assert_close(OnnxSession(result.path)(images), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="classes: applies to a network in memory"):
        library.export(workshop.separable, "other.onnx", classes=CLASSES)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("suffix", ["onnx", "pt2", "safetensors"])
def test_python_exports_a_network_in_memory_and_leaves_it_unchanged(suffix: str) -> None:
    images, noise = torch.randn(3, 3, 16, 16), torch.randn(2, 3, 16, 16)
    conversion = library.convert(redraw(Residual()).eval(), images, rank=1)
    before = {key: value.clone() for key, value in conversion.model.state_dict().items()}
    result = library.export(conversion.model, f"out.{suffix}", image_size=16, classes=list("abcde"), report=ignore)
    assert all(torch.equal(before[key], value) for key, value in conversion.model.state_dict().items())
    assert result.parity.images == 8
    described = json.loads(result.description.read_text(encoding="utf-8"))
    assert (described["input"]["shape"], described["classes"]) == (["batch", 3, 16, 16], list("abcde"))
    if suffix == "onnx":
        with torch.inference_mode():
            torch.testing.assert_close(OnnxSession(result.path)(noise), conversion.model(noise), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"found Conversion\. Give its attribute model"):
        library.export(conversion, "other.onnx")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="must name its 5 outputs, found 1"):
        library.export(conversion.model, "other.onnx", image_size=16, classes=["a"], report=ignore)


@pytest.mark.usefixtures("here")
def test_plain_weights_are_those_of_the_model(workshop: Workshop) -> None:
    _, described = exported(workshop.separable, "out.safetensors")
    state = library.load(workshop.separable / "model").state_dict()
    written = safetensors.torch.load_file("out.safetensors")
    assert all(torch.equal(written[key], value) for key, value in state.items())
    assert written.keys() == state.keys()
    assert described["parity"]["largest_difference"] == 0


@pytest.mark.slow  # tests of deploy and of runtimes/int8.py quantize too
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["out.onnx", "out.xml"])
def test_int8_is_calibrated_on_images_that_are_not_scored(workshop: Workshop, name: str) -> None:
    exported(workshop.dense, f"float_{name}", "--images", "6")
    limited = ["--int8", "--max-drop", "100", "--images", "6", "--calibration", "20"]
    printed, described = exported(workshop.dense, name, *limited)
    assert "int8, calibrated on 20 inputs" in printed
    assert "top-1 " in printed
    int8 = described["int8"]
    assert isinstance(int8, dict)
    assert (int8["images"], described["parity"]["images"]) == (20, 6)
    assert int8["agreement"] > 0.5
    assert int8["float_layers"] == []  # any loss was allowed
    assert int8["largest_difference"] > 0
    assert stored_bytes(Path(name)) < 0.6 * stored_bytes(Path(f"float_{name}"))
    # The description holds for the quantized file: evaluate compares checksums.
    done = dsft("evaluate", name, "--data", workshop.dense_recipe, "--json")
    assert done.exit_code == 0, done.stderr
    if name == "out.onnx":
        assert "QuantizeLinear" in operator_types(Path(name))


@pytest.mark.usefixtures("here")
def test_int8_without_its_package_names_the_command(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else find(name))
    done = dsft("export", workshop.dense, "--out", "out.onnx", "--int8")
    assert done.exit_code == 2
    assert "--int8 needs the package nncf, which is not installed. Install the extra: pip install 'dsft[int8]'" in (
        done.stderr
    )


@pytest.mark.usefixtures("here")
def test_a_folder_is_divided_for_calibration(workshop: Workshop) -> None:
    done = dsft("export", workshop.dense, "-o", "a.onnx", "--int8", "--data", workshop.pictures, "--images", "48")
    assert done.exit_code == 2
    assert "int8 is calibrated on images that are not scored, and none are left" in done.stderr
    assert contents(Path()) == {}


@pytest.mark.usefixtures("here")
def test_a_file_with_other_outputs_is_not_written(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(graph: torch.fx.GraphModule) -> int:
        count = fold_norms(graph)
        with torch.no_grad():
            next(graph.buffers()).mul_(1.01)
        return count

    monkeypatch.setattr(tracing, "fold_norms", spoil)
    Path("out.onnx").write_text("precious", encoding="utf-8")
    with pytest.raises(ExportError, match=r"'out\.onnx' was not written: on \d+ inputs its outputs differ"):
        export.run(Source(str(workshop.dense)), Path("out.onnx"), export.ExportSettings(overwrite=True))
    assert list(contents(Path())) == ["out.onnx"]
    assert Path("out.onnx").read_text(encoding="utf-8") == "precious"


@pytest.mark.usefixtures("here")
def test_without_data_the_file_is_checked_on_noise(workshop: Workshop) -> None:
    folder = Path(shutil.copytree(workshop.separable / "model", "model"))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest |= {"data": None, "fingerprints": {}, "ancestors": []}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    done = dsft("export", "model", "--out", "out.safetensors")
    assert done.exit_code == 0
    assert "records no data, so the file is checked on 8 images of noise" in done.stderr
    done = dsft("export", "model", "--out", "out.onnx", "--int8")
    assert done.exit_code == 2
    assert "--int8 calibrates the activation ranges on images" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "model.bin"], "expected a suffix .pt2, .onnx, .xml, .pte, .safetensors"),
        (
            ["--out", "model.pt2", "--int8"],
            "--int8: quantizes files of onnx, openvino, executorch, found --to torch-export",
        ),
        (["--out", "model.onnx", "--max-drop", "1"], "--max-drop 1: limits what --int8 loses. Add --int8"),
        (["--out", "model.bin", "--to", "openvino"], "openvino expects the suffix .xml, beside .bin. Rename it"),
        (["--out", "taken.onnx"], "'taken.onnx' exists"),
        (["--out", "out.onnx", "data.sed=1"], "Did you mean data.seed?"),
    ],
)
def test_invalid_options_are_reported_before_anything_is_loaded(
    workshop: Workshop, here: Path, arguments: list[str], message: str
) -> None:
    (here / "taken.onnx").touch()
    done = dsft("export", workshop.dense, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert list(contents(here)) == ["taken.onnx"]


@pytest.mark.usefixtures("here")
def test_missing_packages_are_named_with_the_command(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    done = dsft("export", workshop.dense, "--out", "out.onnx")
    assert done.exit_code == 2
    assert "needs the package onnxscript, which is not installed. Install the extra: pip install 'dsft[onnx]'" in (
        done.stderr
    )


def test_the_file_has_the_same_score_with_numpy_pillow_and_onnxruntime(workshop: Workshop, files: Path) -> None:
    import onnxruntime

    described = json.loads((files / "separable.onnx.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(files / "separable.onnx", providers=["CPUExecutionProvider"])
    done = dsft("predict", workshop.separable, workshop.pictures, "--format", "jsonl")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 48
    for row in rows:
        images = load_by_hand(Path(row["path"]), described["preprocessing"]["steps"])
        (logits,) = session.run(None, {described["input"]["name"]: images})
        powers = np.exp(logits[0] - logits[0].max())
        best = int(logits[0].argmax())
        assert described["classes"][best] == row["predictions"][0]["class"]
        assert powers[best] / powers.sum() == pytest.approx(row["predictions"][0]["probability"], abs=1e-4)
