from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dsft.assembly import Network, Source, load_folder
from dsft.assembly.class_names import name_classes, read_class_names
from dsft.errors import DataError
from dsft.progress import Event, Note, ignore
from tests.workshop import CLASSES, Workshop


@pytest.fixture
def unnamed(workshop: Workshop) -> Network:
    return dataclasses.replace(load_folder(workshop.dense), classes=None)


def test_names_come_from_a_file_or_from_the_data(unnamed: Network, here: Path) -> None:
    (here / "names.txt").write_bytes("\ufeffbee\r\ncat \r\nGrünfink\r\n".encode())
    events: list[Event] = []
    named = name_classes(unnamed, Source("own.pth", classes="names.txt"), CLASSES, events.append)
    assert named.classes == ("bee", "cat", "Grünfink")
    named = name_classes(unnamed, Source("own.pth", classes="data"), CLASSES, events.append)
    assert named.classes == CLASSES
    notes = [event.message for event in events if isinstance(event, Note)]
    assert notes == [
        "classes: bee, cat, Grünfink (from 'names.txt'; the order must be that of the network's outputs)",
        "classes: ant, bee, cat (from the data; the order must be that of the network's outputs)",
    ]
    assert name_classes(unnamed, Source("own.pth"), CLASSES, ignore) is unnamed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no such file"),
        (b"", "found an empty file"),
        (b"ant\n\ncat\n", "line 2 is empty"),
        (b"ant\nbee\nant\n", "line 3 repeats 'ant' of line 1"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_list_of_names_is_refused(content: bytes | None, message: str, here: Path) -> None:
    if content is not None:
        (here / "names.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"^--classes 'names.txt': .*{message}"):
        read_class_names("names.txt")


def test_names_must_fit_the_outputs(unnamed: Network, here: Path) -> None:
    (here / "names.txt").write_text("ant\nbee\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"one name for each of the 3 outputs of 'own.pth', found 2: ant, bee"):
        name_classes(unnamed, Source("own.pth", classes="names.txt"), None, ignore)
    with pytest.raises(DataError, match=r"--classes data: takes the classes of the data, and there is none"):
        name_classes(unnamed, Source("own.pth", classes="data"), None, ignore)


def test_names_of_its_own_are_not_replaced(workshop: Workshop) -> None:
    network = load_folder(workshop.dense)
    assert name_classes(network, Source("x", classes="data"), CLASSES, ignore) is network
    with pytest.raises(DataError, match=r"'x' has its own 3: ant, bee, cat\. Leave --classes out"):
        name_classes(network, Source("x", classes="data"), ("cat", "bee", "ant"), ignore)
