from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dsft.cli import app
from tests.test_cli import process
from tests.workshop import CLASSES, Workshop, contents, dsft


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_numbers_are_those_of_evaluate(workshop: Workshop, here: Path) -> None:
    scored = dsft("evaluate", workshop.separable, "--data", workshop.pictures, "--out", "scores")
    assert scored.exit_code == 0, scored.stderr
    (file,) = (here / "scores").rglob("predictions.csv")
    expected = rows(file.read_text(encoding="utf-8"))
    # The batches are those of the data section, so that not even the last digit differs.
    done = dsft("predict", workshop.separable, workshop.pictures, "--format", "csv", "--batch-size", "64")
    assert done.exit_code == 0, done.stderr
    found = rows(done.stdout)
    assert len(found) == 3 * 16
    assert [(row["class"], row["probability"]) for row in found] == [
        (row["predicted"], row["probability"]) for row in expected
    ]
    assert [Path(row["path"]).relative_to(workshop.pictures).as_posix() for row in found] == [
        row["key"] for row in expected
    ]


def test_every_class_of_an_image_as_jsonl(workshop: Workshop, here: Path) -> None:
    picture = workshop.pictures / "bee" / "000.png"
    done = dsft("predict", workshop.dense, picture, "--top-k", "9", "--out", "out.jsonl")
    assert (done.exit_code, done.stdout) == (0, "")
    (line,) = (here / "out.jsonl").read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert found["path"] == str(picture)
    shares = [entry["probability"] for entry in found["predictions"]]
    assert {entry["class"] for entry in found["predictions"]} == set(CLASSES)
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert dsft("predict", workshop.dense, picture, "--out", "out.jsonl").exit_code == 2
    assert dsft("predict", workshop.dense, picture, "--out", "out.jsonl", "--overwrite").exit_code == 0


def test_a_table_for_people_and_columns_for_further_classes(workshop: Workshop) -> None:
    picture = workshop.pictures / "ant" / "000.png"
    table = dsft("predict", workshop.dense, picture, "--top-k", "2").stdout
    assert table.splitlines()[0].split() == ["image", "class", "probability"]
    assert len(table.splitlines()) == 4
    (row,) = rows(dsft("predict", workshop.dense, picture, "--top-k", "2", "--format", "csv").stdout)
    assert list(row) == ["path", "class", "probability", "class_2", "probability_2"]


def test_paths_come_from_standard_input(workshop: Workshop) -> None:
    pictures = sorted(map(str, workshop.pictures.glob("*/00?.png")))
    result = CliRunner().invoke(
        app, ["predict", str(workshop.dense), "-", "--format", "csv"], input="\n".join([*pictures, "", ""])
    )
    assert result.exit_code == 0, result.stderr
    assert [row["path"] for row in rows(result.stdout)] == pictures
    empty = CliRunner().invoke(app, ["predict", str(workshop.dense), "-"], input="\n")
    assert empty.exit_code == 2
    assert "expected one path per line on standard input, found none" in empty.stderr


class TestUnreadable:
    @pytest.fixture
    def album(self, workshop: Workshop, here: Path) -> Path:
        shutil.copytree(workshop.pictures / "ant", here / "album")
        (here / "album" / "003.png").write_bytes(b"no image")
        return here / "album"

    @pytest.mark.usefixtures("album")
    def test_images_are_told_and_left_out(self, workshop: Workshop) -> None:
        done = dsft("predict", workshop.dense, "album", "--format", "csv")
        assert done.exit_code == 1
        assert "003.png' cannot be read as an image" in done.stderr
        assert len(rows(done.stdout)) == 15
        assert "003.png" not in done.stdout

    @pytest.mark.usefixtures("album")
    def test_bad_images_are_an_error_if_requested(self, workshop: Workshop) -> None:
        done = dsft("predict", workshop.dense, "album", "--bad-images", "error")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "003.png' cannot be read as an image" in done.stderr

    @pytest.mark.usefixtures("album")
    def test_nothing_readable_at_all(self, workshop: Workshop) -> None:
        done = dsft("predict", workshop.dense, "album/003.png", "--format", "jsonl")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "003.png' cannot be read as an image" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothere.png"], "'nothere.png': must be an image, a folder or a pattern"),
        (["PICTURES", "--out", "predictions"], "expected a file ending in .csv, .jsonl or .json"),
        (["PICTURES", "--out", "a.txt", "--format", "table"], "expected a file ending in .csv, .jsonl or .json"),
        (["PICTURES", "--workers", "two"], "--workers: expected a whole number, or auto, found 'two'"),
        (["PICTURES", "--device", "tpu"], "device: expected auto, cpu"),
    ],
)
def test_errors_are_reported_before_any_work(
    workshop: Workshop, here: Path, arguments: list[str], message: str
) -> None:
    done = dsft("predict", workshop.dense, *(str(workshop.pictures) if w == "PICTURES" else w for w in arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert contents(here) == {}


@pytest.mark.slow  # the loader with workers has tests of its own
def test_workers_read_the_same_images(workshop: Workshop) -> None:
    arguments = ["predict", str(workshop.dense), str(workshop.pictures), "--format", "csv", "--progress", "off"]
    alone, helped = (process(*arguments, "--workers", count) for count in ("0", "2"))
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout == alone.stdout
