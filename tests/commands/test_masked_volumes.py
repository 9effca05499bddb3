"""Segmentation of volume files: patches in training, windows over whole volumes otherwise."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import zoom  # type: ignore[import-untyped]

from dsft.artifact import ModelDescription, read_manifest, save_model
from dsft.assembly import load_folder
from dsft.choices import ModelSource, TaskName
from dsft.models import ModelSpec, build_model
from dsft.preprocessing import SignalPreprocessing
from tests.data.volumes import CLASSES, ellipsoid, write_masked_scans
from tests.runs import Runs
from tests.workshop import dsft

nibabel = pytest.importorskip("nibabel")

_RECIPE = """\
version: 1
name: dense
task: segmentation
model: {{source: builtin, name: unet3d_8}}
data:
  source: volumes
  root: {root}
  class_names: [background, ellipsoid]
  batch_size: 5
  workers: 0
  window_overlap: 0.5
  signal: {{spacing: [1, 1, 1], length: [8, 8, 8]}}
augment: {{hflip: 0.5, shift: 0.1}}
loss: {{dice: 1.0}}
optim: {{lr: 1e-2}}
schedule: {{epochs: 2, warmup_epochs: 0}}
train: {{device: cpu}}
output: {{dir: "{runs}/${{name}}"}}
"""
_SEPARABLE = """\
extends: dense.yaml
name: separable
model: {{source: dsft, name: null, path: "{runs}/dense/model"}}
convert: {{budget: {{macs: 0.5}}, calibration: {{images: 4}}}}
distill: {{teacher: original, logits: 0.5}}
"""
COUNT = 12


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("volumes")
    write_masked_scans(folder / "scans", COUNT)
    places = {"root": (folder / "scans").as_posix(), "runs": (folder / "runs").as_posix()}
    for name, text in (("dense", _RECIPE), ("separable", _SEPARABLE)):
        (folder / f"{name}.yaml").write_text(text.format(**places), encoding="utf-8")
    found = Runs(folder)
    found.run("train", found.recipe)
    return found


def averaged(run: Path, number: int) -> NDArray[np.float64]:
    """Return the mean of the network's outputs over the windows of a scan, with one voxel each mm."""
    network = load_folder(run)
    own, thickness = network.preprocessing, 1 + number % 2
    values = zoom(
        ellipsoid(number, (12 // thickness, 10, 11))[0], (thickness, 1, 1), order=1, grid_mode=True, mode="nearest"
    )
    values = ((values - own.mean[0]) / own.std[0]).astype(np.float32)
    total, count = np.zeros((2, 12, 10, 11)), np.zeros((12, 10, 11))
    for corner in itertools.product((0, 4), (0, 2), (0, 3)):
        place = tuple(slice(start, start + 8) for start in corner)
        with torch.no_grad():
            output = network.module.eval()(torch.from_numpy(values[place])[None, None])[0].double().numpy()
        total[(slice(None), *place)] += output
        count[place] += 1
    return total / count


def test_the_model_records_patches_and_windows(work: Runs) -> None:
    found = read_manifest(work.dense / "model").preprocessing
    assert isinstance(found, SignalPreprocessing)
    assert (found.length, found.spacing, found.window_overlap) == ((8, 8, 8), (1.0, 1.0, 1.0), 0.5)


def test_scores_are_those_of_the_averaged_outputs_over_whole_volumes(work: Runs) -> None:
    keys = json.loads((work.dense / "splits.json").read_text())["splits"]["test"]["keys"]
    numbers = [int(key[4:6]) for key in keys]
    assert len(numbers) >= 2
    found = np.stack([averaged(work.dense, number).argmax(0) for number in numbers])
    masks = [ellipsoid(number, (12 // (1 + number % 2), 10, 11))[1] for number in numbers]
    truth = np.stack([np.repeat(mask, 12 // len(mask), axis=0) for mask in masks])
    iou = [((found == n) & (truth == n)).sum() / ((found == n) | (truth == n)).sum() for n in range(2)]
    assert work.metrics(work.dense)["miou"] == pytest.approx(np.mean(iou), abs=1e-4)
    assert (work.dense / "evaluation" / "test" / "worst.png").is_file()


def test_predictions_are_for_the_voxels_of_the_files(work: Runs, tmp_path: Path) -> None:
    images = work.folder / "scans" / "images"
    np.save(tmp_path / "array.npy", np.zeros((1, 9, 9, 9), np.float32))
    done = work.run("predict", work.dense, images / "scan00.nii.gz", images / "scan01.nii.gz", "--pictures", tmp_path)
    assert "scan01.nii.gz" in done.stdout
    for number in range(2):
        name = f"scan{number:02d}.nii.gz"
        scan, mask = (nibabel.load(folder / name) for folder in (images, tmp_path))
        assert mask.shape == scan.shape
        np.testing.assert_array_equal(mask.affine, scan.affine)
        expected = averaged(work.dense, number).argmax(0)
        # In every second file the slices are twice as thick, and x grows towards left.
        expected = expected[1::2].T[::-1] if number else expected.T
        assert (np.asarray(mask.dataobj) == expected).mean() > 0.999
    done = dsft("predict", work.dense, tmp_path / "array.npy", "--pictures", tmp_path / "out", "--bad-images", "error")
    assert done.exit_code == 2
    assert "takes volumes with a spacing" in " ".join(done.stderr.split())


@pytest.mark.parametrize("overlap", [None, 0.5])
def test_arrays_get_a_class_for_each_of_their_own_voxels(overlap: float | None, tmp_path: Path) -> None:
    spec, size = ModelSpec(ModelSource.BUILTIN, "unet3d_8", 2, 1), (6, 9, 10)
    torch.manual_seed(0)
    module = build_model(spec).eval()
    values = ellipsoid(0, size)[0]
    with torch.no_grad():  # so that a network with random weights finds both classes equally often
        found = module(torch.from_numpy(values)[None, None])[0]
        module.get_submodule("classifier").get_parameter("bias")[1] += (found[0] - found[1]).median()
    own = SignalPreprocessing((8, 8, 8), 1, (0.0,), (1.0,), window_overlap=overlap)
    save_model(tmp_path / "model", module, ModelDescription(spec, own, CLASSES, task=TaskName.SEGMENTATION))
    np.save(tmp_path / "one.npy", values[None])
    done = dsft("predict", tmp_path / "model", tmp_path / "one.npy", "--pictures", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    padded = np.pad(values, ((1, 1), (0, 0), (0, 0)))
    total, count = np.zeros((2, 8, 9, 10)), np.zeros((8, 9, 10))
    # The centre, or windows; an axis of nine voxels is cropped at its end.
    for row, column in [(0, 1)] if overlap is None else itertools.product((0, 1), (0, 2)):
        place = (slice(None), slice(row, row + 8), slice(column, column + 8))
        with torch.no_grad():
            total[(slice(None), *place)] += module(torch.from_numpy(padded[place])[None, None])[0].numpy()
        count[place] += 1
    expected = np.where(count > 0, total.argmax(0), 255)[1:-1]
    written = np.load(tmp_path / "out" / "one.npy")
    assert (written.shape, written.dtype) == (size, np.uint8)
    assert len(np.unique(written)) == 2 + (overlap is None)
    assert (written == expected).mean() > 0.99


def test_a_bad_mask_stops_a_run_or_is_skipped(work: Runs, tmp_path: Path) -> None:
    write_masked_scans(tmp_path, COUNT)
    for number in range(6, COUNT):
        mask = nibabel.load(tmp_path / "masks" / f"scan{number:02d}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(np.full(mask.shape, 7, np.uint8), mask.affine), mask.get_filename())
    (tmp_path / "images" / "scan06.nii.gz").write_bytes(b"\x1f\x8b")
    root = f"data.root={tmp_path.as_posix()}"
    done = dsft("data", "check", work.recipe, root, "--json")
    assert done.exit_code == 1
    found = {one["key"]: one["message"] for one in json.loads(done.stdout)["corrupt"]}
    assert found.keys() == {f"scan{number:02d}.nii.gz" for number in range(6, COUNT)}
    assert "cannot be read as a signal" in found["scan06.nii.gz"]
    assert "0 to 1, or 255 for no class, found [7]" in found["scan07.nii.gz"]
    # Only their voxels have classes.
    assert "per class" not in dsft("data", "check", work.recipe, root).stdout
    common = ("train", work.recipe, root, "name=bad", "data.val.fraction=0.3", "--dry-run")
    done = dsft(*common)
    assert done.exit_code == 2
    assert "found [7]" in done.stderr or "scan06" in done.stderr
    done = dsft(*common, "data.bad_images=skip")
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("task=classification", "data.class_names: cannot be used with task classification"),
        ("data.groups={pattern: '^(a)', held_out: [a]}", "data.groups: cannot be used with task segmentation"),
        ("data.layout=voc", "data.layout: requires source masks"),
        ("data.class_names=[background]", "data.class_names: from 2 to 255 distinct names"),
        ("data.root=nowhere", "data.root 'nowhere': must be a folder"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(work: Runs, change: str, message: str) -> None:
    others = ("loss.dice=0", "data.window_overlap=null") if change.startswith("task") else ()
    done = dsft("train", work.recipe, "name=other", change, *others)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.slow
def test_a_model_of_windows_is_converted_fine_tuned_and_exported(work: Runs, tmp_path: Path) -> None:
    work.run("finetune", work.folder / "separable.yaml")
    file = tmp_path / "net.onnx"
    work.run("export", work.separable, "--out", file)
    description = json.loads(Path(f"{file}.json").read_text())
    assert description["input"]["shape"] == ["batch", 1, 8, 8, 8]
    done = work.run("evaluate", work.separable, file, "--data", work.recipe, "--no-time", "--json")
    folder, exported = (each["metrics"] for each in json.loads(done.stdout)["models"])
    assert exported["miou"] == pytest.approx(folder["miou"], abs=1e-3)
    scan = work.folder / "scans" / "images" / "scan01.nii.gz"
    for model, out in ((work.separable, "folder"), (file, "file")):
        work.run("predict", model, scan, "--pictures", tmp_path / out)
    first, second = (np.asarray(nibabel.load(tmp_path / out / scan.name).dataobj) for out in ("folder", "file"))
    assert (first == second).mean() > 0.999
