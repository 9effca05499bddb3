from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm

import dsft as api
from dsft.choices import Runtime
from dsft.runtimes import RUNTIMES, why_unusable
from tests.workshop import Workshop, dsft

QUICK = ["--seconds", "0.1", "--calibration", "8", "--progress", "off"]


# Quantizing takes a minute in each.
@pytest.mark.parametrize(
    "foreign",
    [[Runtime.OPENVINO], pytest.param([Runtime.ONNXRUNTIME, Runtime.OPENVINO], marks=pytest.mark.slow)],
)
def test_a_run_is_measured_in_each_runtime(workshop: Workshop, tmp_path: Path, foreign: list[Runtime]) -> None:
    for runtime in foreign:
        if (reason := why_unusable(runtime)) is not None:
            pytest.skip(reason)
    run = Path(shutil.copytree(workshop.separable, tmp_path / "run"))
    data = ["--data", str(workshop.pictures), "--images", "24"]
    done = dsft("deploy", run, "--runtime", ",".join(["eager", *foreign]), *data, *QUICK, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {(row["runtime"], row["dtype"]): row for row in found["rows"]}
    assert list(rows) == [
        ("eager", "float32"),
        *((runtime, dtype) for runtime in foreign for dtype in ("float32", "int8")),
    ]
    in_torch = rows["eager", "float32"]
    assert (in_torch["difference"], in_torch["output_difference"], found["images"]) == (None, None, 24)
    for (_, dtype), row in rows.items():
        for timing in row["timings"].values():
            assert timing["milliseconds"]["median"] > 0
            assert timing["ratio"]["median"] > 0
        if dtype == "float32":
            assert row["score"] == in_torch["score"]
            assert (row["output_difference"] or 0) <= 1e-4
    for name in foreign:
        assert rows[name, "int8"]["file_bytes"] < rows[name, "float32"]["file_bytes"]
        low, high = rows[name, "int8"]["difference"]["interval"]
        assert low <= rows[name, "int8"]["difference"]["top1"] <= high
    written = json.loads((run / "deployment.json").read_text(encoding="utf-8"))
    assert written["rows"] == found["rows"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "ratios to the unconverted network in the same runtime and dtype" in page
    assert page.count("openvino") >= 2


def test_a_runtime_that_is_missing_is_named(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    model = shutil.copytree(workshop.dense / "model", tmp_path / "model")
    data = ["--data", str(workshop.pictures), "--images", "24"]
    done = dsft("deploy", model, "--runtime", "eager,compiled", *data, *QUICK)
    assert done.exit_code == 0, done.stderr
    assert "needs a C++ compiler" in " ".join(done.stdout.split())
    assert not (model / "deployment.json").exists()


def test_torch_alone_needs_no_calibration_and_seen_images_are_told(workshop: Workshop, tmp_path: Path) -> None:
    model = shutil.copytree(workshop.dense / "model", tmp_path / "model")
    done = dsft("deploy", model, "--runtime", "eager", "--data", workshop.pictures, "--seconds", "0.1")
    assert done.exit_code == 0, done.stderr
    assert "of these 48 images trained or calibrated this model" in " ".join(done.stderr.split())
    # Nothing is left to calibrate int8 on.
    done = dsft("deploy", model, "--runtime", "onnxruntime", "--data", workshop.pictures, *QUICK)
    assert done.exit_code == 2
    assert "int8 is calibrated on images that are not scored, and none are left" in done.stderr


def test_a_model_that_records_no_data(tmp_path: Path) -> None:
    api.save(timm.create_model("test_resnet"), tmp_path / "model")
    done = dsft("deploy", tmp_path / "model", "--runtime", "eager")
    assert done.exit_code == 2
    assert "records no data, but it is scored on images. Give them with --data RECIPE|FOLDER" in done.stderr


def test_unknown_runtimes_are_errors(workshop: Workshop) -> None:
    done = dsft("deploy", workshop.dense, "--runtime", "tensorrt")
    assert done.exit_code == 2
    assert f"--runtime: expected {', '.join(RUNTIMES)}, found 'tensorrt'" in done.stderr
