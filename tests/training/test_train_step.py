from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.progress import Event, Note, ignore
from dsft.tasks import LossOptions
from dsft.training import FitSettings, TrainingSetup
from dsft.training.train_step import TrainStep
from tests.training.pieces import (
    CPU,
    Batch,
    assert_equal_tensors,
    constant_rate,
    distill_settings,
    ema_settings,
    freeze_phase,
    make_batches,
    make_net,
    tensors_of,
)

HEAD = ("7.weight", "7.bias")
PLAIN = constant_rate(2)


def make_step(
    net: nn.Module,
    settings: FitSettings = PLAIN,
    teacher: nn.Module | None = None,
    compute: Compute = CPU,
) -> TrainStep:
    return TrainStep(
        TrainingSetup(net, settings, compute, teacher=teacher, head=HEAD), steps_per_epoch=4, report=ignore
    )


@pytest.mark.parametrize("opt", ["momentum", "adamw", "lamb", "lion", "muon", "lookahead_adam", "adafactorbv"])
def test_frozen_parameters_do_not_move(opt: str) -> None:
    settings = constant_rate(2, 0.01, opt, weight_decay=0.5, momentum=0.9)
    settings = replace(settings, freeze=(freeze_phase("4it", ("*",)), freeze_phase("8it", ("head",))))
    net = make_net()
    train_step = make_step(net, settings)
    batches = make_batches(8)
    for step in range(4):
        train_step.run(step, batches[step : step + 1]).item()
    before = tensors_of(net)
    for step in range(4, 8):
        train_step.run(step, batches[step : step + 1]).item()
    moved = {name for name, tensor in tensors_of(net).items() if not torch.equal(tensor, before[name])}
    assert moved == set(HEAD)


def test_everything_moves_once_the_phases_are_over() -> None:
    net = make_net()
    train_step = make_step(net, replace(PLAIN, freeze=(freeze_phase("1it", ("head",)),)))
    train_step.run(0, make_batches(1)).item()
    before = tensors_of(net)
    train_step.run(1, make_batches(1)).item()
    assert not any(torch.equal(tensor, before[name]) for name, tensor in tensors_of(net).items())


def test_a_new_epoch_ends_the_evaluation_mode_that_validation_left() -> None:
    net = make_net()
    train_step = make_step(net)
    train_step.run(0, make_batches(1)).item()
    net.eval()
    train_step.start_epoch()
    train_step.run(1, make_batches(1)).item()
    assert net.training


def test_phases_are_noted() -> None:
    events: list[Event] = []
    settings = replace(PLAIN, freeze=(freeze_phase("1ep", ("head",)),))
    TrainStep(TrainingSetup(make_net(), settings, CPU, head=HEAD), steps_per_epoch=4, report=events.append)
    assert isinstance(events[0], Note)
    assert events[0].message.startswith("freeze: From step 0 until step 4, 15 of ")


def test_the_teacher_only_teaches() -> None:
    net, teacher = make_net(), make_net(seed=1, dropout=0.5).train()
    before = tensors_of(teacher)
    with_gradient: list[bool] = []
    teacher.register_forward_pre_hook(lambda *_: with_gradient.append(torch.is_grad_enabled()))
    train_step = make_step(net, replace(PLAIN, distill=distill_settings(1.0, 2.0)), teacher)
    batch = make_batches(1)[0]
    first = train_step.run(0, [batch]).item()
    for step in range(1, 30):
        last = train_step.run(step, [batch]).item()
    assert last < first / 4
    assert_equal_tensors(tensors_of(teacher), before)
    assert not any(with_gradient)
    assert not teacher.training


def test_a_teacher_and_its_settings_go_together() -> None:
    with pytest.raises(ValueError, match="go together"):
        make_step(make_net(), teacher=make_net())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_keeps_float32_parameters(dtype: torch.dtype) -> None:
    compute = Compute(torch.device("cpu"), dtype, channels_last=True)
    net, full = make_net(), make_net()
    settings = constant_rate(1, 1.0, clip_grad=0.05)
    mixed, plain = make_step(net, settings, compute=compute), make_step(full, settings)
    for step, batch in enumerate(make_batches(8)):
        assert mixed.run(step, [batch]).item() == pytest.approx(plain.run(step, [batch]).item(), rel=0.03)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert net.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    start = make_net().get_parameter("0.weight")
    moves = [module.get_parameter("0.weight") - start for module in (net, full)]
    # The scaler of float16 passes over its first steps, whose gradients overflow.
    assert (moves[0] - moves[1]).norm() < 0.5 * moves[1].norm()


def test_the_gradient_is_clipped_as_a_whole() -> None:
    net = make_net()
    train_step = make_step(net, constant_rate(1, 1.0, clip_grad=0.01))
    before = tensors_of(net)
    train_step.run(0, make_batches(1)).item()
    moves = [(parameter - before[name]).square().sum() for name, parameter in net.named_parameters()]
    assert torch.stack(moves).sum().sqrt().item() == pytest.approx(0.01, rel=1e-3)


def test_the_average_is_what_is_scored() -> None:
    net = make_net()
    train_step = make_step(net, replace(PLAIN, ema=ema_settings(0.5, warmup=False)))
    weights = []
    for step in range(3):
        train_step.run(step, make_batches(1)).item()
        weights.append(net.get_parameter("7.weight").detach().clone())
    expected = 0.5 * (0.5 * weights[0] + 0.5 * weights[1]) + 0.5 * weights[2]
    torch.testing.assert_close(train_step.evaluated.get_parameter("7.weight").detach(), expected)
    assert train_step.evaluated is train_step.average
    assert make_step(net).evaluated is net


def test_finishing_gives_gradients_back_and_evaluates() -> None:
    net = make_net()
    net[0].requires_grad_(False)
    train_step = make_step(net, replace(PLAIN, freeze=(freeze_phase("9it", ("head",)),)))
    train_step.run(0, make_batches(1)).item()
    train_step.close()
    fixed = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert fixed == {"0.weight"}
    assert not any(part.training for part in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_infinities_count_in_weights_and_statistics_and_not_in_masks() -> None:
    net = make_net()
    net.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    train_step = make_step(net)
    assert train_step.is_finite()
    norm = next(part for part in net.modules() if isinstance(part, nn.BatchNorm2d))
    norm.get_buffer("running_var")[0] = torch.inf
    assert not train_step.is_finite()


def test_a_pupil_of_features_comes_to_the_teachers_maps() -> None:
    teacher, net = make_net(seed=1), make_net(seed=1)
    with torch.no_grad():
        net.get_parameter("3.weight").mul_(0.5)
    settings = replace(constant_rate(2, 0.01, "adamw"), distill=distill_settings(0.0, features=20.0, layers=("3",)))
    settings = replace(settings, freeze=(freeze_phase("99it", ("3.weight",)),))
    train_step = make_step(net, settings, teacher)
    batch = make_batches(1)[0]

    def distance() -> float:
        with torch.no_grad():
            ours, theirs = (network[:4].eval()(batch.images) for network in (net, teacher))
        return float((ours - theirs).norm() / theirs.norm())

    assert distance() == pytest.approx(0.5, rel=1e-3)
    for step in range(40):
        train_step.run(step, [batch]).item()
    assert distance() < 0.1
    train_step.close()
    assert not any(part._forward_hooks for network in (net, teacher) for part in network.modules())


def test_features_are_weighed_and_added() -> None:
    teacher, batch = make_net(seed=2), make_batches(1)[0]
    losses = {}
    for weight in (0.0, 2.0):
        settings = distill_settings(0.0, features=weight, layers=("0",) if weight else ())
        train_step = make_step(make_net(seed=1), replace(PLAIN, distill=settings), teacher)
        losses[weight] = train_step.run(0, [batch]).item()
    with torch.no_grad():
        theirs, ours = (net.get_submodule("0")(batch.images) for net in (teacher, make_net(seed=1)))
    distances, sizes = (maps.flatten(1).norm(dim=1) for maps in (ours - theirs, theirs))
    expected = 2.0 * (distances / sizes).square().mean().item()
    assert losses[2.0] - losses[0.0] == pytest.approx(expected, rel=1e-4)


def test_features_are_those_before_an_activation_that_works_in_place() -> None:
    losses = []
    for inplace in (False, True):
        torch.manual_seed(0)
        student, teacher = (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(inplace), nn.Flatten(), nn.Linear(36, 3)) for _ in range(2)
        )
        settings = replace(PLAIN, distill=distill_settings(0.0, features=1.0, layers=("0",)))
        losses.append(make_step(student, settings, teacher=teacher).run(0, [make_batches(1)[0]]).item())
    assert losses[0] == losses[1]


def test_features_of_other_shapes_are_refused() -> None:
    teacher = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.LazyLinear(3))
    teacher(torch.zeros(1, 2, 5, 5))
    settings = replace(PLAIN, distill=distill_settings(0.0, features=1.0, layers=("0",)))
    with pytest.raises(ModelError, match=r"distill\.features: both networks must run the same layers"):
        make_step(make_net(), settings, teacher).run(0, make_batches(1)).item()


def test_mixed_labels_and_a_teacher_go_together() -> None:
    # Both losses see the blended images: that of the labels their shares, that of the teacher its own answer.
    batch = make_batches(1)[0]
    shares = torch.softmax(torch.randn(6, 3, generator=torch.Generator().manual_seed(3)), dim=1)
    net, teacher = make_net(), make_net(seed=1).eval()
    with torch.no_grad():
        logits, taught = copy.deepcopy(net).train()(batch.images), teacher(batch.images)
    expected = 0.75 * -(shares * (0.9 * logits.log_softmax(1))).sum(1).mean()
    expected -= 0.75 * (0.1 / 3 * logits.log_softmax(1)).sum(1).mean()
    kept = (taught / 2).softmax(1)
    expected += 0.25 * 4 * (kept * (kept.log() - (logits / 2).log_softmax(1))).sum(1).mean()
    settings = replace(PLAIN, loss=LossOptions(smoothing=0.1), distill=distill_settings(0.25, 2.0))
    loss = make_step(net, settings, teacher).run(0, [replace(batch, targets=shares)]).item()
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_batches_that_are_summed_up_are_one_batch() -> None:
    sizes, settings = (4, 4, 4, 1), constant_rate(1, 0.1, "momentum", momentum=0.9, clip_grad=0.5)
    whole = make_batches(1, sum(sizes))[0]
    ends = [sum(sizes[:count]) for count in range(1, len(sizes) + 1)]
    parts = [Batch(whole.images[e - n : e], whole.targets[e - n : e]) for e, n in zip(ends, sizes, strict=True)]
    # Group norm has no statistics over the batch.
    nets = [swap_norms(make_net()) for _ in range(2)]
    at_once, summed = (make_step(net, settings) for net in nets)
    for step in range(3):
        assert summed.run(step, parts).item() == pytest.approx(at_once.run(step, [whole]).item(), rel=1e-5)
    for name, tensor in tensors_of(nets[0]).items():
        torch.testing.assert_close(tensors_of(nets[1])[name], tensor, rtol=1e-4, atol=1e-5)


def swap_norms(net: nn.Sequential) -> nn.Sequential:
    net[1], net[4] = nn.GroupNorm(2, 4), nn.GroupNorm(2, 4)
    return net


def test_randomness_depends_on_the_step_alone() -> None:
    losses = []
    for before in (1, 2):
        train_step = make_step(make_net(dropout=0.5), constant_rate(1, 0.0))
        torch.rand(before)
        losses.append([train_step.run(step, make_batches(1)).item() for step in (0, 1)])
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[0][1]


OPTIMIZERS = ["momentum", "adamw", "lamb", "lion", "muon", "lookahead_adam", "adafactorbv", "nadamw", "madgrad", "adan"]


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_the_state_is_all_that_an_optimizer_needs(opt: str, tmp_path: Path) -> None:
    settings, batches = constant_rate(2, 0.01, opt, weight_decay=0.5, momentum=0.9), make_batches(6)
    unbroken = make_net()
    train_step = make_step(unbroken, settings)
    for step in range(3):
        train_step.run(step, batches[step : step + 1]).item()
    again = make_net(seed=5)
    again.load_state_dict(unbroken.state_dict())
    torch.save(train_step.state(), tmp_path / "state.pt")
    other = make_step(again, settings)
    other.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in range(3, 6):
        for one in (train_step, other):
            one.run(step, batches[step : step + 1]).item()
    assert_equal_tensors(tensors_of(again), tensors_of(unbroken))


@pytest.mark.slow
def test_a_compiled_network_trains_as_the_plain_one() -> None:
    ended = []
    for is_compiled in (False, True):
        net = make_net()
        settings = replace(constant_rate(1, 0.1), compile=is_compiled, ema=ema_settings(0.5))
        train_step = make_step(net, settings)
        for step, batch in enumerate(make_batches(3)):
            train_step.run(step, [batch]).item()
        train_step.close()
        ended.append((tensors_of(net), tensors_of(train_step.evaluated)))
    for plain, compiled in zip(*ended, strict=True):
        assert plain.keys() == compiled.keys()
        for name, tensor in plain.items():
            torch.testing.assert_close(compiled[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_run_of_the_cpu_resumes_with_gradient_scaling() -> None:
    begun = make_step(make_net())
    begun.run(0, make_batches(1)).item()
    later = make_step(make_net(), compute=Compute(torch.device("cpu"), torch.float16))
    later.load_state(begun.state())
    assert later.state()["scaler"]["scale"] > 1


class NormalizesInPlace(nn.Sequential):
    def forward(self, images: Tensor) -> Tensor:
        images.sub_(1.0)
        for part in self:
            images = part(images)
        return images


def test_a_network_that_changes_its_input_does_not_change_the_teachers() -> None:
    batch, teacher = make_batches(1)[0], make_net(seed=1)
    settings = replace(PLAIN, distill=distill_settings(1.0, 2.0))
    whole = nn.Sequential(NormalizesInPlace(*make_net()))
    shifted = replace(batch, images=batch.images - 1)
    with torch.no_grad():
        taught, logits = teacher.eval()(batch.images), make_net().train()(shifted.images)
    old, new = (taught / 2).softmax(1), (logits / 2).log_softmax(1)
    expected = 4 * (old * (old.log() - new)).sum(1).mean()
    loss = make_step(whole, settings, teacher).run(0, [replace(batch, images=batch.images.clone())])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
