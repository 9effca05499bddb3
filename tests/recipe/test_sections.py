import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import dsft
from dsft.choices import Cost, DataSource, Method, ModelSource, Structure
from dsft.errors import RecipeError
from dsft.recipe import dump_recipe, load_recipe
from dsft.recipe.schema import recipe_schema
from dsft.recipe.sections import (
    AugmentSection,
    BudgetSection,
    CalibrationSection,
    ConvertSection,
    DataSection,
    HeldOutSection,
    ModelSection,
    OptimSection,
    RecoverSection,
    ScheduleSection,
    Section,
    TrainSection,
    ValSection,
)


def every_section() -> dict[str, Any]:
    return {"Recipe": recipe_schema(), **recipe_schema()["$defs"]}


def test_every_key_is_described() -> None:
    for name, section in every_section().items():
        for key, schema in section.get("properties", {}).items():
            described = schema if "description" in schema else section_of(schema)
            assert len(described["description"]) > 5, f"{name}.{key}"


def section_of(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref") or schema["anyOf"][0]["$ref"]
    found: dict[str, Any] = recipe_schema()["$defs"][reference.rpartition("/")[2]]
    return found


def test_keys_are_described_where_the_package_is_a_mere_copy(tmp_path: Path) -> None:
    # What a wheel unpacks is a copy without the checkout around it.
    source = Path(dsft.__file__).parent
    for file in [*source.glob("*.py"), *source.glob("recipe/**/*.py")]:
        copy = tmp_path / "dsft" / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import dsft.recipe.sections as s; assert s.__file__.startswith(sys.argv[1]);"
        "print(s.OptimSection.model_fields['lr'].description)"
    )
    command = [sys.executable, "-I", "-OO", "-c", program, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout == "Learning rate after warm-up.\n"


def test_the_room_is_light() -> None:
    program = "import sys, dsft.recipe; print([m for m in ('torch', 'timm', 'numpy', 'rich') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_sections_are_closed_and_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        OptimSection.model_validate({"lrr": 1})
    section = OptimSection()
    with pytest.raises(ValidationError, match="frozen"):
        section.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (OptimSection, '{"lr": "1e-3"}'),
        (OptimSection, '{"lr": true}'),
        (OptimSection, '{"lr": NaN}'),
        (OptimSection, '{"lr": Infinity}'),
        (ScheduleSection, '{"epochs": "20"}'),
        (ScheduleSection, '{"epochs": true}'),
        (ScheduleSection, '{"epochs": 20.0}'),
        (ScheduleSection, '{"decay_epochs": "3", "sched": "step"}'),
    ],
)
def test_types_are_strict(section: type[Section], values: str) -> None:
    with pytest.raises(ValidationError):
        section.model_validate_json(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": ModelSource.DSFT}, "path: source dsft requires a model folder"),
        ({"source": ModelSource.DSFT, "path": "x", "name": "y"}, "name: cannot be combined with source dsft"),
        ({"source": ModelSource.DSFT, "path": "x", "in_chans": 1}, "in_chans: cannot be combined with source dsft"),
        ({"source": ModelSource.DSFT, "path": "x", "pretrained": True}, "pretrained: cannot be combined with source"),
        ({"source": ModelSource.TIMM}, "name: source timm requires the name of a network"),
        ({"source": ModelSource.TIMM, "name": "x", "path": "y"}, "path: applies to source dsft only"),
        (
            {"source": ModelSource.TIMM, "name": "x", "pretrained": True, "checkpoint": "y"},
            "pretrained: cannot be combined with checkpoint",
        ),
        ({"source": ModelSource.TIMM, "name": "x", "classes": "data"}, "classes: names the classes of a checkpoint"),
    ],
)
def test_a_model_has_one_origin(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSection.model_validate(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"source": DataSource.DIGITS, "root": "x"},
            "root: requires source folder, csv, torchvision, hf, wds, masks, pairs, coco, voc, yolo, audio, "
            "arrays, frames, video, volumes or text, and the source is digits",
        ),
        ({"source": DataSource.DIGITS, "download": True}, "download: requires source torchvision or hf"),
        ({"source": DataSource.FOLDER}, "root: source folder needs a folder with one folder of images per class"),
        (
            {"source": DataSource.FOLDER, "root": "x", "label_separator": ";"},
            "label_separator: requires source csv or text, and the source is folder",
        ),
        ({"source": DataSource.FOLDER, "root": "x", "name": "y"}, "name: requires source torchvision, hf or scenes"),
        (
            {"source": DataSource.TORCHVISION, "root": "x"},
            "name: source torchvision needs the name of the data set, such as CIFAR10",
        ),
        (
            {"source": DataSource.HF},
            "root: source hf needs the folder of a saved data set, or name, its name on the hub",
        ),
        ({"source": DataSource.WDS}, "root: source wds needs a folder of shards"),
        ({"source": DataSource.CSV}, "root: source csv needs a CSV file"),
    ],
)
def test_data_has_the_keys_of_its_source(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataSection.model_validate(values)


def test_the_held_out_fractions_leave_images_for_training() -> None:
    val, test = ValSection(fraction=0.5), HeldOutSection(fraction=0.5)
    with pytest.raises(ValidationError, match=r"must be less than 1, found 0\.5 and 0\.5"):
        DataSection(source=DataSource.DIGITS, val=val, test=test)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "fraction: exactly one of fraction and fold is needed, found neither"),
        ({"fraction": 0.1, "fold": 0, "folds": 5}, "fraction: exactly one of fraction and fold is needed, found both"),
        ({"fold": 1}, "fold: fold and folds are given together"),
        ({"folds": 5, "fraction": 0.1}, "fold: fold and folds are given together"),
        ({"fold": 5, "folds": 5}, r"fold: must be less than folds \(5\)"),
    ],
)
def test_val_is_a_share_or_a_fold(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ValSection.model_validate(values)


def test_classes_are_balanced_in_one_way_only() -> None:
    values = {"source": "digits", "sampler": "balanced", "class_weights": "auto"}
    with pytest.raises(ValidationError, match="class_weights: auto requires sampler uniform"):
        DataSection.model_validate_json(json.dumps(values))
    DataSection.model_validate_json(json.dumps({**values, "class_weights": {"3": 2.0}}))


def test_a_norm_between_goes_with_fresh_weights_only() -> None:
    assert ConvertSection(method=Method.FRESH, rank=1, norm_between=True).norm_between
    with pytest.raises(ValidationError, match="norm_between: requires method fresh, found method 'svd'"):
        ConvertSection(method=Method.SVD, rank=1, norm_between=True)
    with pytest.raises(ValidationError, match="norm_between: requires method fresh, found method 'auto'"):
        ConvertSection(rank=1, norm_between=True)


def test_structures_agree_with_the_rest() -> None:
    every = list(Structure)
    assert ConvertSection(rank=1, structures=every).structures == every
    with pytest.raises(ValidationError, match="norm_between: requires the structures dw_pw or pw_dw, found pw_dw_pw"):
        ConvertSection(method=Method.FRESH, rank=1, norm_between=True, structures=every)
    with pytest.raises(ValidationError, match="at least 1 item"):
        ConvertSection(rank=1, structures=[])


def test_a_recovery_goes_with_calibration_images() -> None:
    assert ConvertSection(rank=1, recover=RecoverSection(steps=5)).recover == RecoverSection(steps=5)
    for values in ({"method": Method.SVD}, {"calibration": CalibrationSection(images=0)}):
        with pytest.raises(ValidationError, match="recover: trains on the calibration images of method refit"):
            ConvertSection(rank=1, recover=RecoverSection(), **values)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        RecoverSection(steps=0)


def test_structures_may_be_auto() -> None:
    assert ConvertSection(rank=1, structures="auto").structures == "auto"
    with pytest.raises(ValidationError):
        ConvertSection(rank=1, structures="dw_pw")  # type: ignore[arg-type]


def test_a_conversion_has_exactly_one_target() -> None:
    with pytest.raises(ValidationError, match="found neither"):
        ConvertSection()
    with pytest.raises(ValidationError, match="found both"):
        ConvertSection(rank=2, budget=BudgetSection(macs=0.5))
    assert ConvertSection(rank="full").rank == "full"


def test_a_budget_counts_exactly_one_cost() -> None:
    assert BudgetSection(params=0.5).macs is None
    assert BudgetSection(max_drop=1.0, by=Cost.PARAMS).by is Cost.PARAMS
    with pytest.raises(ValidationError, match="exactly one of macs, params, latency, max_drop is needed, found none"):
        BudgetSection()
    with pytest.raises(ValidationError, match=r"exactly one of .* is needed, found macs and params"):
        BudgetSection(macs=0.5, params=0.5)
    with pytest.raises(ValidationError, match="by: names the cost that max_drop minimizes"):
        BudgetSection(macs=0.5, by=Cost.PARAMS)


@pytest.mark.parametrize(
    ("sched", "decay_epochs", "message"),
    [
        ("step", None, "decay_epochs: sched step needs one number"),
        ("step", [1.0], "decay_epochs: sched step needs one number"),
        ("multistep", 3.0, "decay_epochs: sched multistep needs a list"),
        ("cosine", 3.0, "decay_epochs: sched cosine has no drops"),
    ],
)
def test_drops_go_with_their_schedules(sched: str, decay_epochs: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScheduleSection.model_validate({"sched": sched, "decay_epochs": decay_epochs})


def test_drops_may_be_given_as_integers() -> None:
    assert ScheduleSection.model_validate({"sched": "step", "decay_epochs": 3}).decay_epochs == 3.0
    assert ScheduleSection.model_validate_json('{"sched": "multistep", "decay_epochs": [3, 6]}').decay_epochs


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": [0.5, 0.2]}, "scale: the smaller fraction comes first"),
        ({"cutmix_minmax": [0.5, 0.2]}, "cutmix_minmax: the smaller fraction comes first"),
        ({"cutmix_minmax": [0.5, 0.5]}, "cutmix_minmax: must be two different fractions"),
        ({"cutmix": 1.0, "cutmix_minmax": [0.2, 0.5]}, "cutmix_minmax: cannot be combined with cutmix"),
        ({"mixup": 0.2, "mixup_switch_prob": 0.3}, "mixup_switch_prob: requires mixup and cutmix together"),
        ({"mixup_mode": "elem"}, "mixup_mode: requires mixup or cutmix, which is disabled"),
        ({"mixup_off_epoch": 3}, "mixup_off_epoch: requires mixup or cutmix, which is disabled"),
    ],
)
def test_images_are_blended_in_one_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AugmentSection.model_validate_json(json.dumps(values))


def test_a_step_is_made_of_batches_in_one_way() -> None:
    with pytest.raises(ValidationError, match="sync_batchnorm: cannot be combined with compile"):
        TrainSection(compile=True, sync_batchnorm=True)
    with pytest.raises(ValidationError, match="compile: cannot be combined with grad_checkpointing"):
        TrainSection.model_validate({"compile": True, "grad_checkpointing": True})
    with pytest.raises(RecipeError, match=r"train\.grad_accum: is chosen by data\.batch_size: auto"):
        load_recipe("quickstart", ["data.batch_size=auto", "train.grad_accum=2"])
    assert load_recipe("quickstart", ["data.batch_size=auto"]).data.batch_size == "auto"


TABLE = ["task=multi_label", "data={source: csv, root: images.csv, label_separator: ';'}"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["task=multi_label"],
            r"data\.source: task multi_label needs any number of labels as the ground truth, that is source csv",
        ),
        (
            [TABLE[0], "data={source: csv, root: images.csv}"],
            r"data\.label_separator: task multi_label needs",
        ),
        ([TABLE[1]], r"^\(command\)  data\.label_separator: requires task multi_label; .*, found ';' \(str\)"),
        ([*TABLE, "data.sampler=balanced"], r"data\.sampler: balanced requires task classification"),
        ([*TABLE, "evaluate.monitor=val/top1"], r"evaluate\.monitor: .* one of val/map, .*found 'val/top1'"),
        (["evaluate.monitor=val/map"], r"evaluate\.monitor: .* one of val/top1, .*found 'val/map'"),
        (["task=multilabel"], r"task: expected one of classification, multi_label, .*Did you mean multi_label\?"),
    ],
)
def test_a_task_must_fit_its_data_and_its_metrics(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("timm_folder_dense", ["data.root=pictures", "evaluate.monitor=auto", *overrides])


@pytest.mark.parametrize(("overrides", "monitor"), [([], "val/top1"), (TABLE, "val/map")])
def test_auto_monitor_is_resolved_when_the_recipe_is_loaded(overrides: list[str], monitor: str) -> None:
    recipe = load_recipe("timm_folder_dense", ["data.root=pictures", *overrides])
    assert recipe.evaluate.monitor == monitor
    assert f"monitor: {monitor}" in dump_recipe(recipe)
