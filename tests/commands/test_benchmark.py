from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workshop import Workshop, dsft

QUICK = ["--seconds", "0.1", "--progress", "off"]


def test_a_model_beside_another_in_every_setting(workshop: Workshop) -> None:
    settings = ["--batch-size", "1,2", "--dtype", "float32,bfloat16"]
    done = dsft("benchmark", workshop.separable, "--against", workshop.dense, *settings, *QUICK, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    rows = found["rows"]
    dense, separable = str(workshop.dense), str(workshop.separable)
    assert [(row["model"], row["dtype"], row["batch"]) for row in rows] == [
        (model, dtype, batch) for dtype in ("float32", "bfloat16") for batch in (1, 2) for model in (dense, separable)
    ]
    for row in rows:
        timing = row["timing"]
        assert timing["milliseconds"]["low"] <= timing["milliseconds"]["median"] <= timing["milliseconds"]["high"]
        assert row["images_per_second"] == pytest.approx(1000 * row["batch"] / timing["milliseconds"]["median"])
        assert (timing["ratio"]["median"] == 1) or row["model"] == separable
    assert (found["threads"], found["image_size"], found["layout"]) == (1, [32, 32], "channels_last")


def test_layers_are_timed_as_pairs(workshop: Workshop) -> None:
    done = dsft("benchmark", workshop.separable, "--against", workshop.dense, "--layers", *QUICK, "--json")
    found = json.loads(done.stdout)
    plan = json.loads((workshop.separable / "conversion.json").read_text(encoding="utf-8"))
    convolutions = {layer["name"] for layer in plan["layers"]}
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert convolutions <= set(layers)
    assert all(layer["against"] is not None and layer["model"] is not None for layer in layers.values())
    shown = dsft("benchmark", workshop.dense, "--layers", *QUICK).stdout
    assert "layer1.0.conv1" in shown
    assert "threads: 1" in shown


@pytest.mark.usefixtures("here")
def test_standardised_convolutions_are_layers_too() -> None:
    done = dsft("benchmark", "timm/test_nfnet", "--image-size", "32", "--layers", *QUICK, "--json")
    assert done.exit_code == 0, done.stderr
    assert "stem.conv1" in {layer["name"] for layer in json.loads(done.stdout)["layers"]}


@pytest.mark.usefixtures("here")
def test_a_network_of_a_library_in_onnx_runtime_needs_no_weights() -> None:
    done = dsft("benchmark", "timm/test_resnet", "--image-size", "32", "--runtime", "onnxruntime", *QUICK, "--json")
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["runtime"], row["timing"]["ratio"]["median"]) == ("onnxruntime", 1)
    assert list(Path().iterdir()) == []


@pytest.mark.slow
def test_a_compiled_network(workshop: Workshop) -> None:
    done = dsft("benchmark", workshop.dense, "--runtime", "eager,compiled", *QUICK, "--json")
    assert done.exit_code == 0, done.stderr
    assert [row["runtime"] for row in json.loads(done.stdout)["rows"]] == ["eager", "compiled"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--runtime", "tensorrt"],
            "--runtime: expected eager, compiled, onnxruntime, openvino, executorch, found 'tensorrt'",
        ),
        (["--dtype", "int8"], "--dtype: expected float32, bfloat16, float16, found 'int8'"),
        (["--batch-size", "0"], "--batch-size: expected whole numbers of at least 1, such as 1,8, found '0'"),
        (["--seconds", "inf"], "a finite number is needed, found inf"),
        (["--against", "timm/test_resnet"], "--against: both networks must take the same inputs"),
        (["--runtime", "onnxruntime", "--dtype", "bfloat16"], "--runtime onnxruntime: supports only float32"),
        (["--against", "nothere"], "source 'nothere': expected timm/NAME"),
    ],
)
def test_invalid_timings_are_reported(workshop: Workshop, arguments: list[str], message: str) -> None:
    done = dsft("benchmark", workshop.dense, *QUICK, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
