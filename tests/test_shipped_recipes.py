from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import get_model  # type: ignore[attr-defined]

from dsft.artifact import ModelDescription, save_model
from dsft.assembly import Verb
from dsft.choices import DataSource, ModelSource, Start, TaskName
from dsft.commands import experiment
from dsft.data.sources.moving_digits import DIRECTIONS
from dsft.models import Builder, ModelSpec, build_model
from dsft.models.load import preprocessing_of
from dsft.preprocessing import MelSpectrogram, SignalPreprocessing, TextPreprocessing
from dsft.recipe import Recipe, load_recipe, shipped_recipes
from tests.data.sounds import write_tones
from tests.data.texts import make_texts, write_texts
from tests.data.volumes import write_masked_arrays

NAMES = [recipe.name for recipe in shipped_recipes()]
VERBS = {recipe.name: Verb(recipe.verb) for recipe in shipped_recipes()}
CLASSES = ("cat", "dog")
_BOX_IMAGES = 24  # enough for splits with both classes
SCENES = {
    TaskName.SEGMENTATION: (ModelSpec(ModelSource.BUILTIN, "unet_16", 6, 1), ("background", *"01234")),
    TaskName.DETECTION: (ModelSpec(ModelSource.BUILTIN, "fcos_64", 5, 1), tuple("01234")),
    TaskName.RESTORATION: (ModelSpec(ModelSource.BUILTIN, "denoiser_32", 1, 1), ("grey",)),
}
# Of other images, small networks too: the conversion of large ones has tests of its own.
PICTURES = {
    TaskName.SEGMENTATION: (ModelSpec(ModelSource.BUILTIN, "unet_16", 2, 3), CLASSES),
    TaskName.DETECTION: (ModelSpec(ModelSource.BUILTIN, "fcos_64", 2, 3), CLASSES),
    TaskName.RESTORATION: (ModelSpec(ModelSource.BUILTIN, "denoiser_32", 3, 3), ("red", "green", "blue")),
}


TONES = ("falling", "rising", "steady", "tremolo", "vibrato")
SPACES = {
    DataSource.MOVING_DIGITS: (ModelSpec(ModelSource.BUILTIN, "cnn3d_16", len(DIRECTIONS), 1), tuple(DIRECTIONS)),
    DataSource.SOLIDS: (ModelSpec(ModelSource.BUILTIN, "unet3d_8", 3, 1), ("background", "ball", "box")),
    DataSource.VOLUMES: (ModelSpec(ModelSource.BUILTIN, "unet3d_8", 2, 1), CLASSES),
}
"""Networks and classes of data with three axes."""

ARTIFICIAL = (DataSource.TONES, DataSource.MOVING_DIGITS, DataSource.SOLIDS)
OWN_FOLDERS = (
    DataSource.MASKS,
    DataSource.PAIRS,
    DataSource.COCO,
    DataSource.AUDIO,
    DataSource.VOLUMES,
    DataSource.TEXT,
)
SOUNDS = {DataSource.TONES: TONES, DataSource.AUDIO: ("a", "b")}


def save_sound_model(recipe: Recipe, folder: Path) -> None:
    """Save a small network with the input that the first step of a recipe with sounds gives its network."""
    classes = SOUNDS[recipe.data.source]
    name, rate = ("m5_64", 4000) if recipe.data.source is DataSource.TONES else ("m5_128", 8000)
    spec, mel = ModelSpec(ModelSource.BUILTIN, name, len(classes), 1), None
    if recipe.name.startswith("timm"):
        spec, mel = ModelSpec(ModelSource.TIMM, "test_resnet", 2, 1), MelSpectrogram(48, 256, 128, 0.0, 4000.0)
    sound = SignalPreprocessing((4000,), 1, (0.0,), (1.0,), rate, mel)
    save_model(folder, build_model(spec), ModelDescription(spec, sound, classes))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder for each source: images by class, with masks, clean, and with boxes; sounds, texts and volumes."""
    root = tmp_path_factory.mktemp("images")
    write_tones(root / "audio", {"a": 400.0, "b": 900.0}, 8)
    write_texts(root / "text" / "train.csv", make_texts(30))
    write_masked_arrays(root / "volumes", 8)
    (root / "volumes" / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    places = [f"folder/{name}" for name in CLASSES] + ["masks/images", "masks/masks", "pairs", "coco"]
    for place in places:
        (root / place).mkdir(parents=True)
    (root / "masks" / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    for number in range(8):
        for shade, place in enumerate(place for place in places if place != "masks/masks"):
            Image.new("RGB", (32, 32), (30 * number, 60 * shade, 7)).save(root / place / f"{number}.png")
        Image.new("L", (32, 32), number % 2).save(root / "masks" / "masks" / f"{number}.png")
    for number in range(8, _BOX_IMAGES):
        Image.new("RGB", (32, 32), (9 * number, 0, 7)).save(root / "coco" / f"{number}.png")
    listed = {"images": [{"id": number, "file_name": f"{number}.png"} for number in range(_BOX_IMAGES)]}
    boxes = [{"image_id": number, "category_id": number % 2, "bbox": [2, 3, 20, 25]} for number in range(_BOX_IMAGES)]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    document = {**listed, "annotations": boxes, "categories": categories}
    (root / "coco" / "boxes.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def weights_for(recipe: Recipe, folder: Path) -> list[str]:
    """Write local weights where a recipe wants a download or an earlier run, and point it there."""
    model = recipe.model
    own = SPACES.get(recipe.data.source)
    if model.source is ModelSource.DSFT and (own or recipe.task in PICTURES):
        pictures = SCENES if recipe.data.source is DataSource.SCENES else PICTURES
        spec, classes = own or pictures[recipe.task]
        described = ModelDescription(spec, preprocessing_of(spec), classes, task=recipe.task)
        save_model(folder / "model", build_model(spec), described)
        return [f"model.path={(folder / 'model').as_posix()}"]
    if model.source is ModelSource.DSFT and recipe.data.source in SOUNDS:
        save_sound_model(recipe, folder / "model")
        return [f"model.path={(folder / 'model').as_posix()}"]
    if model.source is ModelSource.DSFT and recipe.data.source is DataSource.TEXT:
        text = TextPreprocessing(9, ("the", "film", "was"))
        network = Builder.parse(str(model.builder)).build(text.arguments)
        spec = ModelSpec(ModelSource.PYTHON, "text_cnn.py:kim2014", 2, 1)
        save_model(folder / "model", network, ModelDescription(spec, text, ("neg", "pos")))
        return [f"model.path={(folder / 'model').as_posix()}"]
    if model.source is ModelSource.DSFT:
        digits = recipe.data.source is DataSource.DIGITS
        # A small one of the same family: plans of large networks have tests of their own.
        spec = ModelSpec(ModelSource.TIMM, "test_resnet", 10 if digits else 2, 1 if digits else 3)
        classes = tuple("0123456789") if digits else CLASSES
        save_model(folder / "model", build_model(spec), ModelDescription(spec, preprocessing_of(spec), classes))
        return [f"model.path={(folder / 'model').as_posix()}"]
    if not model.pretrained:
        return []
    name = str(model.name)
    if recipe.task is TaskName.DETECTION:
        # Like the published ones, with the 90 classes of COCO's ids.
        network = get_model(name, weights=None, weights_backbone=None)
    elif recipe.task is TaskName.SEGMENTATION:
        # Like the published ones, with the 21 classes of Pascal VOC and an auxiliary head.
        network = build_model(ModelSpec(model.source, name, 21, 3, aux_heads=True))
    else:
        build = timm.create_model if model.source is ModelSource.TIMM else get_model
        network = build(name.partition(".")[0])
    save_file(network.state_dict(), folder / "weights.safetensors")
    return ["model.pretrained=false", f"model.checkpoint={(folder / 'weights.safetensors').as_posix()}"]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_dry_runs(name: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name)
    overrides = [*weights_for(recipe, tmp_path), "data.batch_size=2"]
    if recipe.data.source is DataSource.VOLUMES:
        overrides.append("data.signal.length=[8, 8, 8]")
    elif recipe.data.source not in (*SOUNDS, *ARTIFICIAL, DataSource.TEXT):
        overrides.append("data.image_size=32")
    if recipe.convert is not None:
        overrides.append("convert.calibration.images=0")  # a fit takes minutes
    if recipe.data.source in OWN_FOLDERS:
        overrides += [f"data.root={(images / recipe.data.source).as_posix()}"]
    elif recipe.data.source not in (DataSource.DIGITS, DataSource.SCENES, *ARTIFICIAL):
        overrides += ["data.source=folder", "data.name=null", "data.download=false"]
        overrides += [f"data.root={(images / 'folder').as_posix()}"]
    before = sorted(tmp_path.rglob("*"))
    result = experiment.run(load_recipe(name, overrides), VERBS[name], start=Start.DRY_RUN)
    assert (result.plan is not None) == (recipe.convert is not None)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_is_the_command(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    has_weights = recipe.model.source is ModelSource.DSFT or recipe.model.pretrained
    assert (VERBS[name] is Verb.FINETUNE) == has_weights


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_separable")])
def test_the_second_step_starts_from_the_first(name: str) -> None:
    first = load_recipe(name.replace("_separable", "_dense"))
    second = load_recipe(name)
    assert second.model.path == f"{first.output.dir}/model"
    assert second.data == first.data
