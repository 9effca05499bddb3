import hashlib
import json
import os
from pathlib import Path

import pytest

from dsft.errors import OutputError
from dsft.storage import (
    find_damage,
    require_replaceable,
    sha256_of,
    staged_folder,
    write_bytes,
    write_checksums,
    write_json,
    write_text,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "c.bin"
    write_bytes(file, b"one")
    write_bytes(file, b"two")
    assert file.read_bytes() == b"two"
    assert names(file.parent) == {"c.bin"}


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größe\n")
    assert (tmp_path / "a.txt").read_bytes() == b"gr\xc3\xb6\xc3\x9fe\n"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(file, "new")
    assert file.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == {"a.txt"}


def test_json_is_readable_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"größe": [1, 2.5, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "größe": [')
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_infinite_numbers(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert names(tmp_path) == set()


def test_a_staged_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "model"
    with staged_folder(target) as staging:
        write_text(staging / "a.txt", "new")
        assert not target.exists()
    assert names(target) == {"a.txt"}
    assert names(target.parent) == {"model"}


def test_a_staged_folder_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_text(target / "sub" / "old.txt", "old")
    with staged_folder(target) as staging:
        write_text(staging / "new.txt", "new")
        assert names(target) == {"sub"}
    assert names(target) == {"new.txt"}
    assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_folder(tmp_path: Path, stop: type[BaseException]) -> None:
    target = tmp_path / "model"
    write_text(target / "old.txt", "old")
    with pytest.raises(stop), staged_folder(target) as staging:  # noqa: PT012 (the block itself must raise)
        write_text(staging / "new.txt", "new")
        raise stop
    assert names(target) == {"old.txt"}
    assert names(tmp_path) == {"model"}


def test_a_replacement_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    write_text(target / "old.txt", "old")
    replace = os.replace

    def refuse_the_new(source: Path, destination: Path) -> None:
        if source.name.endswith(".new") and destination == target:
            raise PermissionError(13, "in use")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", refuse_the_new)
    with pytest.raises(PermissionError, match="in use"), staged_folder(target):
        pass
    assert names(target) == {"old.txt"}
    assert names(tmp_path) == {"model"}


def test_the_folder_that_is_replaced_can_be_kept(tmp_path: Path) -> None:
    target, previous = tmp_path / "last", tmp_path / "previous"
    for content in ("one", "two", "three"):
        with staged_folder(target, previous) as staging:
            write_text(staging / "a.txt", content)
    assert (target / "a.txt").read_text(encoding="utf-8") == "three"
    assert (previous / "a.txt").read_text(encoding="utf-8") == "two"
    assert names(tmp_path) == {"last", "previous"}


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (".last.123.new", ".last.123.old", ".lasting.123.new"):
        (tmp_path / name).mkdir()
    with staged_folder(tmp_path / "last"):
        pass
    # An old folder is all that is left where the new one never came.
    assert names(tmp_path) == {"last", ".last.123.old", ".lasting.123.new"}
    with staged_folder(tmp_path / "last"):
        pass
    assert names(tmp_path) == {"last", ".lasting.123.new"}


def test_checksums_find_every_kind_of_damage(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_text(tmp_path / name, name)
    assert find_damage(tmp_path) == "SHA256SUMS is missing"
    write_checksums(tmp_path)
    assert find_damage(tmp_path) is None
    write_text(tmp_path / "b", "c")
    assert find_damage(tmp_path) == "the SHA-256 of 'b' differs from that in SHA256SUMS"
    (tmp_path / "b").unlink()
    assert find_damage(tmp_path) == "'b' is missing, but listed in SHA256SUMS"
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("", encoding="utf-8")
    assert find_damage(tmp_path) == "SHA256SUMS is damaged: it does not list 'a'"


def test_only_an_earlier_output_of_the_same_kind_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def require(*, overwrite: bool) -> None:
        require_replaceable(folder, "run", ("recipe.yaml", "run.json"), overwrite=overwrite)

    require(overwrite=False)
    folder.mkdir()
    require(overwrite=False)
    (folder / "recipe.yaml").touch()
    with pytest.raises(OutputError, match=r"contains no run .*there is no recipe.yaml and run.json"):
        require(overwrite=True)
    (folder / "run.json").touch()
    with pytest.raises(OutputError, match="replaced with --overwrite"):
        require(overwrite=False)
    require(overwrite=True)


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="must be a folder, found a file"):
            require_replaceable(tmp_path / "run", "run", ("run.json",), overwrite=overwrite)


def test_the_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    write_bytes(tmp_path / "a.bin", content)
    assert sha256_of(tmp_path / "a.bin") == hashlib.sha256(content).hexdigest()


def test_json_keeps_lists_of_numbers_on_one_line_and_its_values(tmp_path: Path) -> None:
    value = {"kernels": [1, -2, 3.5e-7], "text": "[\n 1,\n 2\n]", "mixed": [1, "a"], "nested": [[1, 2], []]}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert '"kernels": [ 1, -2, 3.5e-07 ]' in text
