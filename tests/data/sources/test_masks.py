from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.assembly.data import open_data
from dsft.choices import DataSource, MaskLayout, SplitName
from dsft.data import Split
from dsft.data.sources.masks import MaskFiles, open_masks
from dsft.errors import DataError
from dsft.progress import ignore
from dsft.recipe.sections import DataSection
from dsft.tasks.pictures import class_colours

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST


def write(path: Path, value: int, mode: str = "L") -> None:
    """Write a picture of one value; in a palette image the value is the index of a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.full((6, 8), value, np.uint8))
    if mode == "P":
        picture.putpalette(class_colours(256).flatten().tolist())
    picture.convert("RGB" if mode == "RGB" else picture.mode).save(path)


def write_pair(image: Path, mask: Path, value: int = 1, mode: str = "L") -> None:
    write(image, 100, "RGB")
    write(mask, value, mode)


def one(root: Path, layout: MaskLayout, split: SplitName = TRAIN) -> MaskFiles:
    source = open_masks(root, None, 255, layout=layout)[split]
    assert isinstance(source, MaskFiles)
    return source


class TestVoc:
    @staticmethod
    def list_images(root: Path, **lists: str) -> None:
        for split, names in lists.items():
            file = root / "ImageSets" / "Segmentation" / f"{split}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(names, encoding="utf-8")

    def test_lists_are_splits_and_colours_of_the_palette_are_classes(self, tmp_path: Path) -> None:
        self.list_images(tmp_path, train="b\na\n", val="c\n", trainval="a\nb\nc\n")
        for name, value in (("a", 20), ("b", 3), ("c", 255), ("not_listed", 0)):
            write_pair(tmp_path / f"JPEGImages/{name}.jpg", tmp_path / f"SegmentationClass/{name}.png", value, "P")
        found = open_masks(tmp_path, None, 255, layout=MaskLayout.VOC)
        assert {split: list(source.keys) for split, source in found.items()} == {TRAIN: ["b", "a"], VAL: ["c"]}
        train = one(tmp_path, MaskLayout.VOC)
        assert [np.unique(np.asarray(train.read_target(index))).tolist() for index in (0, 1)] == [[3], [20]]
        assert (len(train.classes), train.classes[20]) == (21, "tvmonitor")
        assert np.unique(np.asarray(one(tmp_path, MaskLayout.VOC, VAL).read_target(0))).tolist() == [255]

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"layout voc needs the list .*train\.txt"):
            one(tmp_path, MaskLayout.VOC)
        self.list_images(tmp_path, train="a b")
        write_pair(tmp_path / "JPEGImages/a.jpg", tmp_path / "SegmentationClass/a.png")
        with pytest.raises(DataError, match=r"2 files of its .* are missing, such as .*b\.jpg"):
            one(tmp_path, MaskLayout.VOC)
        self.list_images(tmp_path, train="\n")
        with pytest.raises(DataError, match="names no images"):
            one(tmp_path, MaskLayout.VOC)


class TestCityscapes:
    @staticmethod
    def write_pair(root: Path, name: str, value: int = 18) -> None:
        split, city, stem = name.split("/")
        image = root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png"
        masks = root / "gtFine" / split / city
        write_pair(image, masks / f"{stem}_gtFine_labelTrainIds.png", value)
        write(masks / f"{stem}_gtFine_color.png", 9, "RGB")

    def test_cities_are_matched_and_a_test_split_without_masks_is_left_out(self, tmp_path: Path) -> None:
        for name in ("train/aachen/aachen_0_1", "train/bochum/bochum_0_1", "val/ulm/ulm_0_1"):
            self.write_pair(tmp_path, name)
        write(tmp_path / "leftImg8bit/test/bonn/bonn_0_1_leftImg8bit.png", 0, "RGB")
        found = open_masks(tmp_path, None, 255, layout=MaskLayout.CITYSCAPES)
        keys = {split: list(source.keys) for split, source in found.items()}
        assert keys == {TRAIN: ["aachen/aachen_0_1", "bochum/bochum_0_1"], VAL: ["ulm/ulm_0_1"]}
        train = one(tmp_path, MaskLayout.CITYSCAPES)
        assert (len(train.classes), train.classes[18]) == (19, "bicycle")
        assert np.unique(np.asarray(train.read_target(0))).tolist() == [18]

    def test_masks_of_other_indices_only_are_an_error_with_what_makes_them(self, tmp_path: Path) -> None:
        self.write_pair(tmp_path, "train/ulm/ulm_0_1")
        (tmp_path / "gtFine/train/ulm/ulm_0_1_gtFine_labelTrainIds.png").unlink()
        with pytest.raises(DataError, match=r"1 files .* are missing.*csCreateTrainIdLabelImgs"):
            one(tmp_path, MaskLayout.CITYSCAPES)


def test_the_class_table_of_a_layout_can_be_replaced(tmp_path: Path) -> None:
    TestCityscapes.write_pair(tmp_path, "train/ulm/ulm_0_1", 1)
    (source,) = open_masks(tmp_path, ["road", "other"], 255, layout=MaskLayout.CITYSCAPES).values()
    assert list(source.classes) == ["road", "other"]


class TestFolders:
    def test_a_file_of_names_and_the_index_of_no_class(self, tmp_path: Path) -> None:
        write_pair(tmp_path / "images/sub/a.jpg", tmp_path / "masks/sub/a.png", 7)
        (tmp_path / "classes.txt").write_text("sky\nroad\n", encoding="utf-8")
        (source,) = open_masks(tmp_path, None, 7).values()
        assert isinstance(source, MaskFiles)
        assert (source.classes, list(source.keys)) == (("sky", "road"), ["sub/a.jpg"])
        assert np.unique(np.asarray(source.read_target(0))).tolist() == [255]

    @pytest.mark.parametrize(
        ("images", "masks", "message"),
        [
            (["a", "b"], ["a"], "found none for 1 files, such as 'b'"),
            (["a"], ["a", "c"], "found none for 1 files, such as 'c'"),
            ([], [], "must contain the folders 'images' and 'masks'"),
        ],
    )
    def test_images_and_masks_must_match(
        self, images: list[str], masks: list[str], message: str, tmp_path: Path
    ) -> None:
        for folder, names in (("images", images), ("masks", masks)):
            for name in names:
                write(tmp_path / folder / f"{name}.png", 0)
        with pytest.raises(DataError, match=message):
            open_masks(tmp_path, ["x", "y"], 255)

    @pytest.mark.parametrize("names", [None, ["only"], ["same", "same"]])
    def test_a_class_table_is_needed(self, names: list[str] | None, tmp_path: Path) -> None:
        write_pair(tmp_path / "images/a.jpg", tmp_path / "masks/a.png")
        with pytest.raises(DataError, match=r"data\.class_names: "):
            open_masks(tmp_path, names, 255)


def test_a_recipe_chooses_the_layout(tmp_path: Path) -> None:
    TestCityscapes.write_pair(tmp_path, "train/ulm/ulm_0_1")
    section = DataSection(source=DataSource.MASKS, root=str(tmp_path), layout=MaskLayout.CITYSCAPES)
    assert open_data(section, ignore)[TRAIN].keys == ["ulm/ulm_0_1"]
    with pytest.raises(ValueError, match="layout: requires source masks, and the source is digits"):
        DataSection(source=DataSource.DIGITS, layout=MaskLayout.VOC)


def test_masks_are_numbered_by_the_class_table_of_the_split(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (3, 1)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "masks" / "a.png")
    source = open_masks(tmp_path, ["road", "sky"], 255)[TRAIN]
    split = Split(TRAIN, source, (0,), ("tree", "sky", "road"))
    assert np.asarray(split.read_target(0)).tolist() == [[2, 1, 255]]
