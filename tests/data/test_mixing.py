from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.data.mixup import Mixup
from timm.loss.cross_entropy import SoftTargetCrossEntropy
from torch import Tensor

from dsft.data.mixing import Mixing, mix_batch
from dsft.data.seeding import seeded
from dsft.losses import soft_cross_entropy

WAYS: list[dict[str, Any]] = [
    {"mixup": 0.4},
    {"cutmix": 1.0},
    {"cutmix_minmax": (0.2, 0.8)},
    {"mixup": 0.4, "cutmix": 1.0, "switch_prob": 0.3},
    {"mixup": 0.4, "cutmix": 1.0, "prob": 0.5},
]


def make_batch(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    images = torch.randn(count, 3, 16, 12, generator=generator)
    return images, torch.randint(5, (count,), generator=generator)


def timms(mixing: Mixing, images: Tensor, targets: Tensor, seed: int, **options: Any) -> tuple[Tensor, Tensor]:
    mixup = Mixup(  # type: ignore[no-untyped-call]
        mixing.mixup,
        mixing.cutmix,
        mixing.cutmix_minmax,
        mixing.prob,
        mixing.switch_prob,
        mixing.mode,
        num_classes=5,
        **options,
    )
    with seeded(seed):
        mixed: tuple[Tensor, Tensor] = mixup(images.clone(), targets)
    return mixed


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_timms_on_equal_draws(way: dict[str, Any], mode: Any) -> None:
    mixing = Mixing(**way, mode=mode)
    images, targets = make_batch(8)
    blended = 0
    for seed in range(6):
        expected = timms(mixing, images, targets, seed, label_smoothing=0.0)
        found = mix_batch(images.clone(), targets, mixing, num_classes=5, seed=seed)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        blended += not torch.equal(found[0], images)
    assert blended >= 2


def test_smoothing_in_the_loss_is_smoothing_in_the_mixup() -> None:
    mixing = Mixing(mixup=0.4, cutmix=1.0)
    images, targets = make_batch(8)
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    _, smoothed = timms(mixing, images, targets, 3, label_smoothing=0.2)
    _, shares = mix_batch(images, targets, mixing, num_classes=5, seed=3)
    expected = SoftTargetCrossEntropy()(  # type: ignore[no-untyped-call]
        logits, smoothed
    )
    torch.testing.assert_close(soft_cross_entropy(logits, shares, smoothing=0.2), expected)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("count", [1, 7])
def test_the_last_image_of_an_odd_batch_stays(count: int, mode: Any) -> None:
    images, targets = make_batch(count)
    mixed, shares = mix_batch(images.clone(), targets, Mixing(mixup=1.0, mode=mode), num_classes=5, seed=1)
    assert torch.equal(mixed[-1], images[-1])
    assert torch.equal(shares[-1], torch.eye(5)[targets[-1]])
    assert not any(torch.equal(mixed[index], images[index]) for index in range(count - 1))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(count))


def test_shares_are_those_of_the_pixels() -> None:
    # Each image is filled with the number of its class, so that its mean says what it is made of.
    targets = torch.tensor([0, 1, 2, 3, 4, 0])
    images = torch.nn.functional.one_hot(targets, 5).float()[:, :, None, None].expand(-1, -1, 8, 8).clone()
    for seed, mixing in enumerate([Mixing(mixup=0.5), Mixing(cutmix=1.0), Mixing(mixup=1.0, cutmix=1.0, mode="elem")]):
        mixed, shares = mix_batch(images.clone(), targets, mixing, num_classes=5, seed=seed)
        torch.testing.assert_close(mixed.mean(dim=(2, 3)), shares)


def test_several_labels_are_blended_as_they_are() -> None:
    images, _ = make_batch(4)
    targets = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0]], dtype=torch.float32)
    mixing = Mixing(mixup=0.5)
    _, expected = timms(mixing, images, targets, 2, label_smoothing=0.0, multi_label=True)
    _, shares = mix_batch(images, targets, mixing, num_classes=5, seed=2)
    torch.testing.assert_close(shares, expected)


def test_the_seed_alone_decides() -> None:
    images, targets = make_batch(6)
    mixing = Mixing(mixup=0.5, cutmix=1.0, mode="elem")
    first, again, other = (
        mix_batch(images.clone(), targets, mixing, num_classes=5, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_mixing_ends_at_the_given_epoch() -> None:
    assert not Mixing().is_on(0)
    assert [Mixing(cutmix_minmax=(0.1, 0.2), off_epoch=2).is_on(epoch) for epoch in range(4)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("way", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_the_labels_of_a_set_are_blended_as_their_images_are(way: dict[str, Any], mode: Any) -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    # Each image is as bright as its label is there, so that its mean is the share that it should have.
    images = targets[:, :, None, None].expand(-1, -1, 16, 16).clone()
    blended = 0
    for seed in range(6):
        mixed, shares = mix_batch(images.clone(), targets.clone(), Mixing(**way, mode=mode), num_classes=2, seed=seed)
        torch.testing.assert_close(shares, mixed.mean(dim=(2, 3)), atol=1e-5, rtol=0)
        assert torch.equal(shares[-1], targets[-1])
        blended += bool(((shares > 0) & (shares < 1)).any())
    assert blended >= 2
