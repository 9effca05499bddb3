from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from dsft.assembly import load_folder
from dsft.assembly.conversion_data import ConversionData, open_conversion_data
from dsft.assembly.named_data import RECORDED, NamedData
from dsft.choices import SplitName, TaskName
from dsft.devices import Compute
from dsft.errors import DataError
from dsft.progress import Event, Note, Warn, ignore
from dsft.tasks import task_named
from tests.workshop import CLASSES, Workshop, write_pictures

CPU = Compute(torch.device("cpu"))


def opened(workshop: Workshop, named: NamedData) -> tuple[ConversionData | None, list[Event]]:
    events: list[Event] = []
    return open_conversion_data(named, load_folder(workshop.dense), "dense", events.append), events


def test_a_run_knows_its_own_splits(workshop: Workshop) -> None:
    network = load_folder(workshop.dense)
    data, _ = opened(workshop, RECORDED)
    assert data is not None
    assert data.val is not None
    assert data.classes == CLASSES
    fingerprints = {"train": data.train.fingerprint, "val": data.val.fingerprint}
    assert fingerprints == network.trainings[-1].fingerprints
    # What the run's training used is on record already.
    assert data.record([SplitName.TRAIN, SplitName.VAL], network) == ()


def test_a_named_folder_replaces_them_and_is_recorded(workshop: Workshop, tmp_path: Path) -> None:
    write_pictures(tmp_path, dict.fromkeys(CLASSES, 10), seed=3)
    data, _ = opened(workshop, NamedData(str(tmp_path), ("data.val.fraction=0.5",)))
    assert data is not None
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (9, 15)
    (training,) = data.record([SplitName.TRAIN], load_folder(workshop.dense))
    assert training.section().root == str(tmp_path)
    assert training.fingerprints == {"train": data.train.fingerprint}


def test_images_without_labels_calibrate_and_leave_no_record(workshop: Workshop, tmp_path: Path) -> None:
    write_pictures(tmp_path, {"": 3})
    (tmp_path / ".hidden").mkdir()
    data, events = opened(workshop, NamedData(str(tmp_path)))
    assert data is not None
    assert (data.val, data.classes) == (None, None)
    network = load_folder(workshop.dense)
    assert data.record([SplitName.TRAIN], network) == ()
    assert sum(map(len, data.calibration(network, CPU, 8, 0, events.append))) == 3
    assert [event.message for event in events if isinstance(event, Note)] == [
        f"calibration: 3 images of {str(tmp_path)!r}"
    ]


def test_images_beside_few_in_folders_calibrate(workshop: Workshop, tmp_path: Path) -> None:
    write_pictures(tmp_path, {"": 3, "thumbnails": 2})
    data, _ = opened(workshop, NamedData(str(tmp_path)))
    assert data is not None
    assert data.val is None
    assert data.train.keys == ("000.png", "001.png", "002.png")
    write_pictures(tmp_path, {"thumbnails": 4})
    with pytest.raises(DataError, match=r"at least two classes|not in a class folder|outside"):
        opened(workshop, NamedData(str(tmp_path)))


def test_folders_are_classes_for_classification_alone(workshop: Workshop, tmp_path: Path) -> None:
    write_pictures(tmp_path, {"images": 3, "masks": 3})
    network = dataclasses.replace(load_folder(workshop.dense), task=task_named(TaskName.SEGMENTATION))
    message = r"found 0 in it and folders, which are no classes for 'dense', whose task is segmentation. Give the"
    with pytest.raises(DataError, match=message):
        open_conversion_data(NamedData(str(tmp_path)), network, "dense", ignore)


def test_a_folder_without_images_is_an_error(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^--data '.*': expected a folder with images, found none in it"):
        opened(workshop, NamedData(str(tmp_path)))


def test_too_few_images_for_a_val_split_are_an_error(workshop: Workshop, tmp_path: Path) -> None:
    write_pictures(tmp_path, dict.fromkeys(CLASSES, 1))
    with pytest.raises(DataError, match=r"3 examples of 3 classes are too few for a val split"):
        opened(workshop, NamedData(str(tmp_path)))


def test_recorded_data_that_is_gone_is_warned_of(workshop: Workshop) -> None:
    data, events = opened(workshop, NamedData(None, ("data.root=gone",)))
    assert data is None
    (warning,) = [event.message for event in events if isinstance(event, Warn)]
    assert warning.startswith("the data that 'dense' records cannot be used: data.root 'gone'")
