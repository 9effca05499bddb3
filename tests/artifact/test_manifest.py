from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dsft.artifact import FORMAT_VERSION, Manifest, read_manifest
from dsft.choices import ModelSource, TaskName, WeightsKind
from dsft.conversion import Request, plan_conversion
from dsft.errors import CheckpointError
from dsft.models import ModelSpec
from dsft.preprocessing import Preprocessing
from tests.zoo import Residual

FULL = Manifest(
    source=ModelSpec(ModelSource.TIMM, "test_resnet", 2, 3),
    plan=plan_conversion(Residual(), torch.zeros(1, 3, 16, 16), Request(rank=2)),
    classes=("cat", "dog"),
    preprocessing=Preprocessing((64, 64), 3, (0.5,) * 3, (0.25,) * 3, "bicubic", 0.875, "center"),
    weights=WeightsKind.EMA,
    sha256="0" * 64,
    fingerprints={"train": "ab"},
    data={"source": "digits"},
    versions={"dsft": "0"},
)
EMPTY = Manifest(None, None, None, None, WeightsKind.RAW, "0" * 64, {}, None, {})


def write(folder: Path, values: Any) -> Path:
    (folder / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


@pytest.mark.parametrize("manifest", [FULL, EMPTY], ids=["full", "empty"])
def test_json_round_trip(manifest: Manifest, tmp_path: Path) -> None:
    assert read_manifest(write(tmp_path, manifest.to_dict())) == manifest


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"format_version": FORMAT_VERSION + 1, "unheard": "of"})
    with pytest.raises(CheckpointError, match=r"is of format 2; .* reads format 1\. Upgrade dsft"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "averaged"},
        {"source": {"name": "resnet18"}},
        {"plan": {"layers": [{}]}},
        {"preprocessing": 3},
    ],
)
def test_a_damaged_manifest_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"manifest\.json': is damaged \("):
        read_manifest(write(tmp_path, {**FULL.to_dict(), **change}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"surprise": 1, "other": 2}, "unknown fields: surprise, other"),
        ({"source": {**FULL.to_dict()["source"], "width": 2}}, r"unknown fields: source\.width"),
        ({"plan": {**FULL.to_dict()["plan"], "blocks": []}}, r"unknown fields: plan\.blocks"),
    ],
)
def test_an_unknown_field_was_written_by_a_newer_version(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"was written by a newer dsft \(0\) .*{named}.*Upgrade dsft"):
        read_manifest(write(tmp_path, {**FULL.to_dict(), **change}))


def test_an_unknown_word_of_a_newer_version_is_not_damage(tmp_path: Path) -> None:
    values = {**FULL.to_dict(), "weights": "averaged"}
    with pytest.raises(CheckpointError, match=r"is damaged \("):
        read_manifest(write(tmp_path, values))
    with pytest.raises(CheckpointError, match=r"was written by a newer dsft \(99\.1\) .*'averaged'.*Upgrade dsft"):
        read_manifest(write(tmp_path, {**values, "versions": {"dsft": "99.1"}}))


def test_a_published_manifest_names_no_folder_of_this_machine() -> None:
    data = {"source": "folder", "root": "/home/me/pictures", "seed": 1}
    ancestors = ({"data": {**data, "root": "earlier"}, "fingerprints": {"train": "cd"}}, {"data": None})
    published = dataclasses.replace(FULL, data=data, ancestors=ancestors).without_local_paths()
    assert published.data == {"source": "folder", "root": None, "seed": 1}
    assert published.ancestors[0] == {"data": published.data, "fingerprints": {"train": "cd"}}
    assert published.fingerprints == FULL.fingerprints
    assert FULL.without_local_paths() == FULL


@pytest.mark.parametrize("content", [b"", b'{"format_version": 1', b"[]", b"\xff\xfe", b"{}", b"null"])
def test_a_file_that_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json': is damaged \("):
        read_manifest(tmp_path)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    values = FULL.to_dict()
    del values["sha256"]
    with pytest.raises(CheckpointError, match="missing or unknown fields: sha256"):
        read_manifest(write(tmp_path, values))


def test_a_path_that_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        read_manifest(tmp_path / "gone")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(CheckpointError, match="found a file"):
        read_manifest(tmp_path / "file")
    with pytest.raises(CheckpointError, match="was not written by dsft"):
        read_manifest(tmp_path)


def test_a_runs_folder_points_to_its_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write(tmp_path / "model", EMPTY.to_dict())
    with pytest.raises(CheckpointError, match=r"Did you mean '.*model'\?"):
        read_manifest(tmp_path)


def test_the_task_is_kept_and_an_older_folder_has_one_class_an_image(tmp_path: Path) -> None:
    several = dataclasses.replace(FULL, task=TaskName.MULTI_LABEL)
    assert read_manifest(write(tmp_path, several.to_dict())).task is TaskName.MULTI_LABEL
    older = {key: value for key, value in FULL.to_dict().items() if key != "task"}
    assert read_manifest(write(tmp_path, older)).task is TaskName.CLASSIFICATION
    with pytest.raises(CheckpointError, match=r"is damaged .*'guessing'"):
        read_manifest(write(tmp_path, {**FULL.to_dict(), "task": "guessing"}))
