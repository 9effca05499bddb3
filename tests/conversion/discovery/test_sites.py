from __future__ import annotations

import contextlib
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import dsft
from dsft.choices import Reason
from dsft.conversion.discovery.sites import find_sites
from dsft.errors import BudgetError, ModelError
from dsft.measure import count_macs
from tests.zoo import OwnConv, ReadFromOutside, Residual, Shared, TiedWeights

IMAGES = torch.randn(1, 4, 8, 8)


def obstacles(model: nn.Module, images: torch.Tensor = IMAGES) -> dict[str, Reason | None]:
    return {site.name: site.obstacle for site in find_sites(model, images)}


def test_sites_carry_shapes_and_the_macs_that_torch_counts() -> None:
    model, images = Residual(), torch.randn(2, 3, 8, 8)
    sites = {site.name: site for site in find_sites(model, images)}
    assert sites["conv2"].input_shapes == ((2, 8, 8, 8),)
    assert sites["conv2"].positions == 16
    assert sum(site.macs for site in sites.values()) + 16 * 5 == count_macs(model, images)


def test_macs_of_a_real_network_are_those_that_torch_counts() -> None:
    model = timm.create_model("resnext50_32x4d", num_classes=10)
    images = torch.randn(1, 3, 32, 32)
    assert sum(site.macs for site in find_sites(model, images)) == count_macs(model, images) - 2048 * 10


def test_a_shared_module_is_one_site_with_both_names_and_calls() -> None:
    (site,) = find_sites(Shared(), IMAGES)
    assert site.aliases == ("first", "second")
    assert site.positions == 2 * 64
    assert site.obstacle is None


HOOKS = (
    *("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook", "state_dict_post_hook"),
    *("state_dict_pre_hook", "load_state_dict_pre_hook", "load_state_dict_post_hook"),
)


@pytest.mark.parametrize("kind", HOOKS)
def test_layers_with_hooks_of_any_kind_are_kept(kind: str) -> None:
    hooked = nn.Conv2d(4, 4, 3)
    getattr(hooked, f"register_{kind}")(lambda *_: None)
    assert obstacles(nn.Sequential(hooked)) == {"0": Reason.HAS_HOOKS}


def test_layers_that_hold_more_than_their_pass_uses_are_kept() -> None:
    scaled, counted, branched = (nn.Conv2d(4, 4, 3) for _ in range(3))
    scaled.register_parameter("scale", nn.Parameter(torch.ones(1)))
    counted.register_buffer("calls", torch.zeros(1))
    branched.add_module("branch", nn.Linear(2, 2))
    for conv in (scaled, counted, branched):
        assert obstacles(nn.Sequential(conv)) == {"0": Reason.CUSTOM_CLASS}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_of_complex_numbers_and_without_channels_are_kept() -> None:
    numbers = torch.complex64
    assert obstacles(nn.Conv2d(4, 4, 3, dtype=numbers), IMAGES.to(numbers)) == {"": Reason.UNSUPPORTED_WEIGHT}
    assert obstacles(nn.Conv2d(0, 4, 3), IMAGES[:, :0]) == {"": Reason.EMPTY}


def test_every_obstacle_is_named() -> None:
    cases: dict[Reason | None, nn.Module] = {
        None: nn.Conv2d(4, 4, 3, groups=2),
        Reason.POINTWISE: nn.Conv2d(4, 4, 1),
        Reason.SINGLE_CHANNEL: nn.Conv2d(1, 8, 3),
        Reason.DEPTHWISE: nn.Conv2d(4, 8, 3, groups=4),
        Reason.UNSUPPORTED_CONVOLUTION: nn.ConvTranspose1d(4, 4, 3),
        Reason.CUSTOM_CLASS: OwnConv(4, 4, 3),
        Reason.COMPUTED_WEIGHT: parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
    }
    for expected, module in cases.items():
        images = IMAGES[..., 0] if isinstance(module, nn.ConvTranspose1d) else IMAGES
        images = images[:, :1] if expected is Reason.SINGLE_CHANNEL else images
        assert obstacles(nn.Sequential(module), images) == {"0": expected}


def test_every_kind_with_a_separable_layer_can_be_converted() -> None:
    kinds = {
        nn.Conv1d: torch.randn(2, 4, 8),
        nn.Conv2d: torch.randn(2, 4, 8, 8),
        nn.Conv3d: torch.randn(2, 4, 8, 8, 8),
        nn.ConvTranspose2d: torch.randn(2, 4, 8, 8),
    }
    for kind, images in kinds.items():
        model = nn.Sequential(kind(4, 6, 3, stride=2, groups=2))
        (site,) = find_sites(model, images)
        assert site.obstacle is None
        assert site.macs == count_macs(model, images)
        assert site.dense_kernel.shape[:2] == (6, 2)


@pytest.mark.parametrize(("transposed", "before", "after"), [(False, 64, 9), (True, 64, 17 * 17)])
def test_positions_of_the_input_and_the_output(transposed: bool, before: int, after: int) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    (site,) = find_sites(kind(4, 6, 3, stride=2), IMAGES.repeat(3, 1, 1, 1))
    assert (site.input_positions, site.output_positions) == (before, after)
    assert site.positions == (before if transposed else after)


class WithTable(nn.Module):
    """A convolution that runs once for all images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.table = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.images(images) + self.table(torch.ones(1, 3, 1, 1))  # type: ignore[no-any-return]


def test_a_layer_that_runs_on_fewer_images_than_there_are_costs_something() -> None:
    model, images = WithTable(), torch.zeros(8, 3, 4, 4)
    assert [site.positions for site in find_sites(model, images)] == [16, 1]
    settings: dict[str, Any] = {"budget": {"latency": 0.9, "runtime": "eager"}, "method": "fresh"}
    with contextlib.suppress(BudgetError):  # a layer as small as this need not become faster
        dsft.convert(model, images, **settings)


def test_what_the_pass_leaves_out_is_kept() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3))
    model[0].spare = nn.Conv2d(4, 4, 3)
    assert obstacles(model)["0.spare"] is Reason.NOT_RUN


def test_shared_parameters_and_weights_read_from_outside_are_kept() -> None:
    assert set(obstacles(TiedWeights()).values()) == {Reason.SHARED_WEIGHT}
    assert obstacles(ReadFromOutside()) == {"read": Reason.WEIGHT_READ_OUTSIDE, "run": None}


def test_the_root_can_be_the_convolution_and_no_hook_stays() -> None:
    root = nn.Conv2d(4, 4, 3)
    assert obstacles(root) == {"": None}
    assert not root._forward_hooks


def test_an_example_without_a_batch_is_refused() -> None:
    with pytest.raises(ModelError, match=r"batch dimension.*\(4, 8, 8\)"):
        find_sites(nn.Sequential(nn.Conv2d(4, 4, 3)), torch.randn(4, 8, 8))


def test_an_example_without_images_is_refused() -> None:
    with pytest.raises(ModelError, match="expected at least one input, found an empty batch"):
        find_sites(nn.Sequential(nn.Conv2d(4, 4, 3)), IMAGES[:0])
