"""Conversions that every edition has to make as the first one did: networks, requests, and what is kept of them.

Only the public functions of dsft are used, so that the same jobs run with any edition. Weights and images are whole
numbers over a power of two, drawn by a generator that gives the same ones on every processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

import dsft

SEPARABLE, LOW_RANK = ("dw_pw", "pw_dw"), ("dw_pw", "pw_dw", "low_rank")
STEPS = 2**15
BATCHES = 3
"""Calibration batches of a refit."""


class Kinds(nn.Module):
    """Grouped, dilated, strided, transposed, 1d and 3d convolutions, with several paddings."""

    def __init__(self) -> None:
        super().__init__()
        self.volume = nn.Conv3d(1, 6, (1, 3, 3), padding=(0, 1, 1), padding_mode="replicate")
        self.mix = nn.Conv3d(6, 6, 3, padding=1, bias=False)
        self.down = nn.Conv2d(12, 16, 3, stride=2, padding=1, groups=2)
        self.wide = nn.Conv2d(16, 16, (3, 5), padding="same", dilation=2, padding_mode="reflect", bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.line = nn.Conv1d(8, 10, 5, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        """Take ``(batch, 1, 2, height, width)``."""
        features = functional.relu(self.mix(functional.relu(self.volume(images)))).flatten(1, 2)
        features = functional.relu(self.norm(self.wide(functional.relu(self.down(features)))))
        return self.line(functional.relu(self.up(features)).flatten(2)).mean(2)  # type: ignore[no-any-return]


def build_resnet() -> nn.Module:
    """Return a ResNet-18 with a stem of three convolutions and few channels."""
    return _from_timm("resnet18d", stem_width=8, channels=(16, 24, 32, 48))


def build_efficientnet() -> nn.Module:
    """Return timm's smallest network of its kind, with squeeze and excitation."""
    return _from_timm("test_efficientnet")


def build_regnet() -> nn.Module:
    """Return a network of grouped convolutions."""
    return _from_timm("regnetx_002")


def build_squeezenet() -> nn.Module:
    """Return a network without norms, from torchvision."""
    return models.squeezenet1_1(weights=None, num_classes=10)  # type: ignore[no-any-return]


def _from_timm(name: str, **arguments: Any) -> nn.Module:
    model: nn.Module = timm.create_model(name, num_classes=10, **arguments)
    return model


SHAPES: Mapping[Callable[[], nn.Module], tuple[int, ...]] = {
    build_resnet: (3, 64, 64),
    build_efficientnet: (3, 64, 64),
    build_regnet: (3, 32, 32),
    build_squeezenet: (3, 64, 64),
    Kinds: (1, 2, 12, 12),
}
"""What each network takes, without the batch."""


@dataclass(frozen=True)
class Job:
    """A conversion.

    Attributes:
        build: Builds the network.
        request: What is asked for, as ``dsft.convert`` takes it; the form is named, since it would be timed else.
        is_calibrated: Whether images are given to fit the weights to.
    """

    build: Callable[[], nn.Module]
    request: Mapping[str, Any] = field(default_factory=dict)
    is_calibrated: bool = False

    def example(self) -> Tensor:
        """Return one image."""
        return draw((1, *SHAPES[self.build]), seed=1)

    def network(self) -> nn.Module:
        """Return the dense network, in evaluation mode, all of its parameters and buffers drawn anew."""
        return redraw(self.build()).eval()

    def convert(self, model: nn.Module) -> dsft.Conversion:
        """Convert the network."""
        batches = [draw((8, *SHAPES[self.build]), seed=2 + number) for number in range(BATCHES)]
        return dsft.convert(
            model,
            self.example(),
            calibration=batches if self.is_calibrated else None,
            **{"structures": SEPARABLE, "form": "gather", **self.request},
        )


JOBS: Mapping[str, Job] = {
    "resnet_macs03_svd": Job(build_resnet, {"budget": {"macs": 0.3}, "method": "svd"}),
    "resnet_macs05_refit": Job(build_resnet, {"budget": {"macs": 0.5}, "method": "refit"}, is_calibrated=True),
    "resnet_params05_exclude": Job(
        build_resnet, {"budget": {"params": 0.5}, "include": ["layer*"], "exclude": ["layer1.*", "*.downsample.*"]}
    ),
    "resnet_rank1_fresh": Job(
        build_resnet, {"rank": 1, "method": "fresh", "norm_between": True, "seed": 3, "include": ["layer[12].*"]}
    ),
    "resnet_full_pw_dw": Job(build_resnet, {"rank": "full", "structures": ["pw_dw"], "include": ["layer4.*"]}),
    "efficientnet_macs05_low_rank": Job(build_efficientnet, {"budget": {"macs": 0.5}, "structures": LOW_RANK}),
    "efficientnet_params05_low_rank_refit": Job(
        build_efficientnet, {"budget": {"params": 0.5}, "structures": LOW_RANK}, is_calibrated=True
    ),
    "regnet_macs07_low_rank": Job(
        build_regnet, {"budget": {"macs": 0.7}, "structures": LOW_RANK, "include": ["stem.*", "s[123].*"]}
    ),
    "regnet_rank1_refit": Job(
        build_regnet, {"rank": 1, "include": ["stem.*", "s2.*", "s3.b[12].*"]}, is_calibrated=True
    ),
    "squeezenet_macs04_refit": Job(build_squeezenet, {"budget": {"macs": 0.4}}, is_calibrated=True),
    "squeezenet_rank2_multiplier": Job(
        build_squeezenet, {"rank": 2, "form": "multiplier", "include": ["features.[3-6].*"]}
    ),
    "kinds_full": Job(Kinds, {"rank": "full", "form": "concatenate"}),
    "kinds_params05_refit": Job(Kinds, {"budget": {"params": 0.5}}, is_calibrated=True),
    "kinds_macs05_fresh": Job(Kinds, {"budget": {"macs": 0.5}, "method": "fresh", "form": "passes", "seed": 5}),
    "kinds_rank1_refit": Job(Kinds, {"rank": 1}, is_calibrated=True),
}


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw numbers from -1 to 1, evenly."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-STEPS, STEPS + 1, shape, generator=generator).float() / STEPS


def redraw(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all parameters and buffers anew, so that no scale of zero hides a layer from the output."""
    for number, (name, tensor) in enumerate([*model.named_parameters(), *model.named_buffers()]):
        if tensor.is_floating_point():
            drawn = draw(tuple(tensor.shape), 1000 * seed + number)
            if tensor.dim() > 1:
                tensor.data.copy_(drawn * (6 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("bias", "mean")):
                tensor.data.copy_(drawn / 2)
            else:
                tensor.data.copy_(1 + drawn / 2)  # scales and variances
    return model


def save_dense(folder: Path) -> None:
    """Write the dense network that the runs convert, as a model folder."""
    model: nn.Module = timm.create_model("test_efficientnet", num_classes=10, in_chans=1)
    dsft.save(redraw(model).eval(), folder, classes=[str(digit) for digit in range(10)])


@torch.no_grad()
def fingerprint(model: nn.Module, dense: nn.Module, example: Tensor) -> dict[str, Any]:
    """Return what is kept of a converted network: a few figures of each tensor that is new or changed, and its outputs.

    A pair of factors may have either sign, as the processor's linear algebra has it, so the mean and the projection on
    random numbers are those of the magnitudes; the outputs show the signs.
    """
    before, after = dense.state_dict(), model.state_dict()
    kept = sorted(name for name in after if name in before and torch.equal(after[name], before[name]))
    return {
        "kept": len(kept),
        "tensors": {name: _figures(tensor) for name, tensor in after.items() if name not in kept},
        "outputs": [_rounded(value) for value in model.eval()(example).flatten().tolist()],
    }


def _figures(tensor: Tensor) -> dict[str, Any]:
    numbers = tensor.detach().double().flatten()
    size, projected = numbers.abs(), draw(tuple(numbers.shape), seed=7).double()
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "sha256": hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest(),
        "mean": _rounded(float(size.mean())),
        "rms": _rounded(float(size.square().mean().sqrt())),
        "projection": _rounded(float((size * projected).mean())),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")
