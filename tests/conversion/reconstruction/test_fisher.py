from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsft.conversion.discovery.sites import find_sites
from dsft.conversion.reconstruction import fisher
from dsft.conversion.reconstruction.fisher import collect_fisher, emphasize_late_layers
from dsft.errors import ConversionError
from dsft.progress import Warn
from tests.zoo import Residual, RewrittenSkips, Shared, redraw

IMAGES = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "POSITIONS", 10**9)


def test_patches_are_those_of_unfold() -> None:
    model = redraw(Residual()).eval()
    sites = [site for site in find_sites(model, IMAGES[:1]) if site.name == "conv2"]
    seen: list[Tensor] = []
    handle = sites[0].module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    weighting = collect_fisher(model, sites, [IMAGES])["conv2"]
    handle.remove()
    patches = functional.unfold(seen[0], 3, padding=1, stride=2).reshape(6, 8, 9, -1).permute(0, 3, 1, 2).flatten(0, 1)
    centred = (patches - patches.mean(0)).double()
    expected = torch.einsum("ncp,ncq->cpq", centred, centred) / len(patches)
    torch.testing.assert_close(weighting.patches, expected, atol=1e-5, rtol=1e-4)
    middle = centred[:, :, 4]
    torch.testing.assert_close(weighting.channels[0], middle.T @ middle / len(patches), atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_labels_drawn_from_the_networks_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.LazyLinear(2))
    model(IMAGES)
    sites = find_sites(model, IMAGES[:1])
    many = [IMAGES] * 300
    moments_of = {site.name: torch.zeros(site.module.out_channels, site.module.out_channels) for site in sites}
    # The mean over labels in full: each label weighted by its chance.
    for label in range(2):
        outputs: dict[str, Tensor] = {}
        first = model[0](IMAGES)
        outputs["0"] = first
        outputs["2"] = model[2](torch.relu(first))
        scores = model[4](outputs["2"].flatten(1))
        chances = scores.softmax(1)[:, label].detach()
        for image in range(len(IMAGES)):
            loss = functional.cross_entropy(scores[image : image + 1], torch.tensor([label]))
            grads = torch.autograd.grad(loss, list(outputs.values()), retain_graph=True)
            for name, gradient in zip(outputs, grads, strict=True):
                rows = gradient[image].flatten(1)
                moments_of[name] += chances[image] * (rows @ rows.T) / len(IMAGES)
    monkeypatch.setattr(fisher, "MAX_IMAGES", 10**9)
    found = collect_fisher(model, sites, many)
    for name, expected in moments_of.items():
        close = found[name].gradients[0].float()
        assert float((close - expected).norm() / expected.norm()) < 0.1


@pytest.mark.parametrize("frozen", [False, True])
def test_the_network_is_left_as_it_was(frozen: bool) -> None:
    model = redraw(Residual()).train().requires_grad_(not frozen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = collect_fisher(model, find_sites(model, IMAGES[:1])[:3], [IMAGES])
    assert all(float(weighting.gradients.abs().sum()) > 0 for weighting in found.values())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


class Detached(nn.Module):
    """A network without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).detach()  # type: ignore[no-any-return]


def test_without_a_gradient_layers_are_relative_to_their_outputs() -> None:
    model = Detached()
    redraw(model)
    events: list[object] = []
    weighting = collect_fisher(model, find_sites(model, IMAGES[:1]), [IMAGES], report=events.append)["conv"]
    kernel = model.conv.weight.detach().double().flatten(2)
    whole = sum(
        float(torch.trace(weighting.gradients[0] @ kernel[:, c] @ weighting.patches[c] @ kernel[:, c].T))
        for c in range(3)
    )
    assert whole == pytest.approx(1.0)
    assert any(isinstance(event, Warn) and "not differentiable" in event.message for event in events)


def test_a_layer_that_runs_twice_counts_twice() -> None:
    model = redraw(Shared()).eval()
    images = torch.randn(2, 4, 6, 6)
    (weighting,) = collect_fisher(model, find_sites(model, images[:1]), [images]).values()
    assert bool(weighting.patches.isfinite().all())
    assert float(weighting.patches.diagonal(dim1=1, dim2=2).min()) > 0


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((IMAGES, torch.zeros(6)), "fails on batch 0, a tuple .*without labels"),
        (IMAGES[:, :1], "fails on batch 0, a Tensor"),
        (IMAGES[0, 0], "fails on batch 0"),
    ],
)
def test_a_batch_that_the_network_cannot_take_is_an_error(batch: Any, message: str) -> None:
    model = redraw(Residual())
    with pytest.raises(ConversionError, match=message):
        collect_fisher(model, find_sites(model, IMAGES[:1])[:3], [batch])


def test_answers_that_are_not_finite_are_an_error() -> None:
    model = Residual()
    redraw(model)
    model.head.bias.data.fill_(float("nan"))
    with pytest.raises(ConversionError, match="on batch 0 holds NaN or infinite values"):
        collect_fisher(model, find_sites(model, IMAGES[:1])[:3], [IMAGES])


def test_a_cross_entropy_is_quadratic_for_small_rises_and_a_squared_error_for_all() -> None:
    images = [torch.randn(4, 3, 8, 8)]
    for model, largest in ((Residual(), fisher.LARGEST_RISE), (nn.Conv2d(3, 4, 3), math.inf)):
        found = collect_fisher(redraw(model), find_sites(model, images[0]), images)
        assert {weighting.largest_rise for weighting in found.values()} == {largest}


def test_an_error_costs_the_more_the_later_its_layer_runs() -> None:
    class Backwards(nn.Module):
        """Runs its layers in another order than the one in which they are defined."""

        def __init__(self) -> None:
            super().__init__()
            self.last, self.middle, self.first = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

        def forward(self, images: Tensor) -> Tensor:
            output: Tensor = self.last(self.middle(self.first(images)))
            return output

    model = redraw(Backwards())
    plain = collect_fisher(model, find_sites(model, torch.zeros(1, 3, 8, 8)), [torch.randn(4, 3, 8, 8)])
    assert list(plain) == ["first", "middle", "last"]
    found = emphasize_late_layers(plain)
    shares = [float((found[name].gradients / plain[name].gradients).mean()) for name in plain]
    assert shares == pytest.approx([1.0, math.exp(1 / 3), math.exp(2 / 3)])
    assert all(torch.equal(found[name].patches, plain[name].patches) for name in plain)


@pytest.mark.parametrize("make", [Residual, RewrittenSkips])
def test_the_hooks_change_nothing_that_the_network_computes(make: type[nn.Module]) -> None:
    model = redraw(make()).eval()
    with torch.no_grad():
        expected = model(IMAGES)
    found: list[Tensor] = []
    model.register_forward_hook(lambda *given: found.append(given[-1].detach().clone()))
    weightings = collect_fisher(model, find_sites(model, IMAGES[:1]), [IMAGES])
    assert all(torch.equal(output, expected) for output in found if output.shape == expected.shape)
    assert found
    assert all(bool(weighting.gradients.any()) for weighting in weightings.values())
