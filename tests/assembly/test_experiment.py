from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dsft.assembly import Experiment, Verb, load_folder, prepare_experiment
from dsft.assembly import student as student_module
from dsft.choices import Method, SplitName
from dsft.data import cache as cache_module
from dsft.devices import Compute
from dsft.errors import CheckpointError, DataError, RecipeError
from dsft.progress import Event, Warn, ignore
from dsft.recipe import load_recipe
from tests.workshop import CLASSES, Workshop, contents, write_pictures

CPU = Compute(torch.device("cpu"))


def prepare(recipe: Path, *changes: str, verb: Verb = Verb.FINETUNE) -> Experiment:
    return prepare_experiment(load_recipe(str(recipe), changes), verb, ignore)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_a_conversion_gives_a_copy_and_the_original_teaches(workshop: Workshop) -> None:
    experiment = prepare(workshop.separable_recipe)
    original, student, plan = (
        experiment.networks.original,
        experiment.networks.student,
        experiment.networks.student.plan,
    )
    assert plan is not None
    assert experiment.networks.teacher is original
    assert original.plan is None
    assert all(isinstance(original.module.get_submodule(layer.name), nn.Conv2d) for layer in plan.layers)
    saved = load_folder(workshop.dense).module.state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in original.module.state_dict().items())
    assert plan.macs_ratio <= 0.5
    # Everything but the new layers is as it was.
    kept = {
        name: tensor
        for name, tensor in student.module.state_dict().items()
        if name not in experiment.training.converted
    }
    assert all(torch.equal(saved[name], tensor) for name, tensor in kept.items())
    with torch.no_grad():
        for parameter in student.module.parameters():
            parameter.zero_()
    assert all(torch.equal(saved[name], tensor) for name, tensor in original.module.state_dict().items())


def test_what_it_holds_goes_together(workshop: Workshop) -> None:
    experiment = prepare(workshop.separable_recipe)
    assert experiment.networks.knows_task
    assert experiment.data.splits.classes == CLASSES
    assert set(experiment.data.loaders.evaluation) == {SplitName.VAL, SplitName.TEST}
    assert experiment.training.head == ("fc.weight", "fc.bias")
    student = experiment.networks.student.module
    names = [name for name, _ in student.named_parameters()]
    plan = experiment.networks.student.plan
    assert plan is not None
    layers = [layer.name for layer in plan.converted]
    expected = {f"{layer}.{name}" for layer in layers for name, _ in student.get_submodule(layer).named_parameters()}
    assert expected == set(experiment.training.converted) <= set(names)
    assert experiment.training.settings.distill is not None


def test_a_dense_student_learns_from_a_copy_that_stays(workshop: Workshop) -> None:
    experiment = prepare(workshop.separable_recipe, "~convert", "freeze.0.train=[head]")
    assert experiment.networks.student is experiment.networks.original
    assert experiment.training.converted == ()
    assert experiment.networks.teacher is not None
    before = snapshot(experiment.networks.teacher.module)
    assert before.keys() == experiment.networks.student.module.state_dict().keys()
    with torch.no_grad():
        for parameter in experiment.networks.student.module.parameters():
            parameter.zero_()
    assert all(
        torch.equal(before[name], tensor) for name, tensor in experiment.networks.teacher.module.state_dict().items()
    )


def test_a_converted_network_is_tuned_with_its_layers_known(workshop: Workshop) -> None:
    experiment = prepare(
        workshop.separable_recipe, f"model.path={workshop.separable.as_posix()}", "~convert", "~distill"
    )
    assert experiment.networks.student.plan == load_folder(workshop.separable).plan
    assert experiment.training.converted


def test_new_classes_are_another_task(workshop: Workshop, tmp_path: Path) -> None:
    write_pictures(tmp_path, {"dog": 6, "elk": 6})
    experiment = prepare(workshop.separable_recipe, f"data.root={tmp_path.as_posix()}", "~distill")
    assert not experiment.networks.knows_task
    assert experiment.networks.teacher is None
    assert experiment.networks.student.spec.num_classes == 2


def test_training_starts_from_nothing_that_is_known(workshop: Workshop) -> None:
    experiment = prepare(workshop.dense_recipe, verb=Verb.TRAIN)
    assert not experiment.networks.knows_task
    assert experiment.networks.teacher is None


@pytest.mark.parametrize(("verb", "method"), [(Verb.TRAIN, Method.FRESH), (Verb.FINETUNE, Method.REFIT)])
def test_auto_keeps_weights_where_there_are_any(workshop: Workshop, verb: Verb, method: Method) -> None:
    recipe = workshop.dense_recipe if verb is Verb.TRAIN else workshop.separable_recipe
    plan = prepare(recipe, "convert={rank: 1}", verb=verb).networks.student.plan
    assert plan is not None
    assert plan.method is method


@pytest.mark.parametrize(
    ("verb", "changes", "message"),
    [
        (Verb.FINETUNE, [], "starts from weights, found none. Set model.pretrained=true or model.checkpoint=FILE"),
        (Verb.TRAIN, ["model.pretrained=true"], "starts from random weights, found a source of weights"),
        (Verb.TRAIN, ["model.checkpoint=own.pth"], "starts from random weights, found a source of weights"),
        (Verb.TRAIN, ["distill.logits=0.5"], "no trained original to distill from. Give a model folder"),
    ],
)
def test_the_verb_and_the_weights_agree(workshop: Workshop, verb: Verb, changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        prepare(workshop.dense_recipe, *changes, verb=verb)


def test_training_may_learn_from_a_model_folder(workshop: Workshop) -> None:
    experiment = prepare(workshop.dense_recipe, f"distill.teacher={workshop.dense.as_posix()}", verb=Verb.TRAIN)
    assert experiment.networks.teacher is not None
    assert experiment.networks.teacher is not experiment.networks.original


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.opt=adamwz", "unknown optimizer, found 'adamwz'"),
        ("freeze.0.train=[layer9.*]", r"freeze\.0\.train\.0: must match a trainable parameter"),
        ("train.amp=float16", "float16 needs a GPU"),
    ],
)
def test_settings_are_checked_against_the_network(workshop: Workshop, change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        prepare(workshop.separable_recipe, change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("optim.opt=adamwz", RecipeError, "unknown optimizer, found 'adamwz'"),
        ("data.class_weights.T-shirt=2", DataError, r"data\.class_weights\.T-shirt: unknown class"),
        ("data.root=OTHERS", RecipeError, r"distill\.teacher 'original': the teacher must know the 2 classes"),
        ("distill.teacher=nothere", CheckpointError, "there is no such folder"),
        ("data.seed=1", DataError, "of the test split trained or calibrated the network that this run starts from"),
        ("freeze.0.train=[layer9.*]", RecipeError, r"freeze\.0\.train\.0: must match a "),
        ("freeze.0.train=[head, fc2.weight]", RecipeError, r"freeze\.0\.train\.1: must match"),
        ("optim.lr_mult={layer9.*: 2}", RecipeError, r"optim\.lr_mult\.layer9\.\*: must match"),
        ("freeze.0.until=0it", RecipeError, "must end after the one before it and last at least one step"),
        ("augment.cutmix_minmax=[0.01, 0.02]", RecipeError, r"augment\.cutmix_minmax"),
        ("train.amp=float16", RecipeError, "float16 needs a GPU"),
    ],
)
def test_what_needs_no_conversion_is_checked_before_it(
    change: str,
    error: type[Exception],
    message: str,
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_pictures(tmp_path, {"dog": 6, "elk": 6})
    monkeypatch.setattr(student_module, "convert_network", lambda *_, **__: pytest.fail("converted"))
    with pytest.raises(error, match=message):
        prepare(workshop.separable_recipe, change.replace("OTHERS", tmp_path.as_posix()))


@pytest.mark.parametrize("pattern", ["layer1.0.conv1.depthwise.weight", "*.pointwise.*", "converted", "layer?.0.*"])
def test_patterns_of_converted_layers_are_not_refused_before_it(workshop: Workshop, pattern: str) -> None:
    experiment = prepare(workshop.separable_recipe, f"freeze.0.train=[{pattern!r}]", "convert={rank: 1}")
    assert experiment.training.settings.freeze[0].train == (pattern,)


def test_phases_are_counted_in_the_steps_of_the_optimizer(workshop: Workshop) -> None:
    """Four batches make a step, so that an epoch has fewer steps than batches."""
    changes = ["data.batch_size=8", "train.grad_accum=4", "convert.method=svd"]
    batches = len(prepare(workshop.separable_recipe, *changes).data.loaders.train)
    steps = -(-batches // 4)
    assert steps < batches
    later = f"freeze=[{{until: 1ep, train: [head]}}, {{until: {steps + 1}it, train: [head]}}]"
    prepare(workshop.separable_recipe, *changes, later, "schedule.epochs=3")
    earlier = f"freeze=[{{until: {steps + 1}it, train: [head]}}, {{until: 1ep, train: [head]}}]"
    with pytest.raises(RecipeError, match="must end after the one before it"):
        prepare(workshop.separable_recipe, *changes, earlier, "schedule.epochs=3")


def test_nothing_is_written(workshop: Workshop, here: Path) -> None:
    before = contents(workshop.dense.parents[1])
    prepare(workshop.separable_recipe, "output.dir=out")
    assert contents(here) == {}
    assert contents(workshop.dense.parents[1]) == before


def test_a_loss_that_is_allowed_is_scored_on_val_and_needs_a_network_that_knows_the_classes(workshop: Workshop) -> None:
    changes = ["~convert.budget.macs", "convert.budget.max_drop=100"]
    experiment = prepare(workshop.separable_recipe, *changes)
    (trial,) = experiment.networks.history.trials
    plan = experiment.networks.student.plan
    assert plan is not None
    assert plan.macs_ratio <= trial.share < 0.5
    assert trial.drop <= 100
    with pytest.raises(RecipeError, match=r"convert\.budget\.max_drop: needs the network's top-1 on val"):
        prepare(workshop.dense_recipe, "convert.budget.max_drop=1", verb=Verb.TRAIN)


def test_a_cache_that_is_requested_and_impossible_is_reported(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "free_memory", lambda: None)
    events = list[Event]()
    prepare_experiment(load_recipe(str(workshop.dense_recipe), ["data.cache=ram"]), Verb.TRAIN, events.append)
    assert any(isinstance(event, Warn) and "data.cache: ram: images are decoded" in event.message for event in events)
