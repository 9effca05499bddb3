from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dsft.choices import Reason, Structure
from dsft.conversion import Request, plan_conversion
from dsft.conversion.discovery.sites import find_sites
from dsft.conversion.planning.shape_rule import expected_faster
from dsft.conversion.structures import STRUCTURES, CandidateOptions
from dsft.errors import BudgetError


def offered(conv: nn.Module, channels: int, size: int, structure: Structure) -> list[int]:
    (site,) = find_sites(conv, torch.zeros(1, channels, size, size), [structure])
    candidate = STRUCTURES[structure].make_candidate(site, CandidateOptions(one_kernel=True))
    steps = candidate.steps[expected_faster(candidate, candidate.steps)]
    return [sum(candidate.kernels_at(int(each))) for each in steps]


@pytest.mark.parametrize(
    ("channels", "size", "slower", "faster"),
    # Measured with one thread: widths that took longer than dense in ONNX Runtime, or in torch for those of 144, and
    # widths that took less than 0.9 of it in both.
    [(64, 56, 256, 128), (128, 28, 512, 256), (16, 32, 48, 16), (64, 96, 144, 96), (64, 180, 144, 96)],
)
def test_agrees_with_measured_times_of_three_by_three_kernels(
    channels: int, size: int, slower: int, faster: int
) -> None:
    widths = offered(nn.Conv2d(channels, channels, 3, padding=1), channels, size, Structure.PW_DW_PW)
    assert faster in widths
    assert slower not in widths


def test_one_depthwise_kernel_for_each_channel_is_all_that_is_offered_of_the_other_structures() -> None:
    for structure in (Structure.DW_PW, Structure.PW_DW):
        assert offered(nn.Conv2d(32, 64, 3, padding=1), 32, 28, structure) == [
            32 if structure is Structure.DW_PW else 64
        ]


def test_the_rule_keeps_dense_what_it_expects_to_be_slower_and_names_the_way_out() -> None:
    # With two channels the pointwise convolutions are all overhead.
    model = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 64, 3, padding=1), nn.Conv2d(64, 64, 3))
    images = torch.zeros(1, 2, 32, 32)
    plan = plan_conversion(model, images, Request(budget={"macs": 0.5}, structures="auto"))
    assert plan.layers[0].reason in (Reason.NOT_FASTER, Reason.NOT_CHEAPER)
    assert all(layer.structure is Structure.PW_DW_PW or set(layer.kernels) == {1} for layer in plan.converted)
    with pytest.raises(BudgetError, match=r"name the structures \(pw_dw_pw, dw_pw, pw_dw\), which allows"):
        plan_conversion(model, images, Request(budget={"macs": 0.01}, structures="auto"))


def test_plans_read_no_clock_and_explicit_structures_are_free_of_the_rule() -> None:
    model, images = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3)), torch.zeros(1, 64, 16, 16)
    first, second = (plan_conversion(model, images, Request(budget={"macs": 0.4}, structures="auto")) for _ in range(2))
    assert first == second
    free = plan_conversion(model, images, Request(budget={"macs": 0.4}, structures=["dw_pw"]))  # type: ignore[list-item]
    assert any(max(layer.kernels) > 1 for layer in free.converted)


def test_a_rank_and_a_norm_between_take_the_separable_structures() -> None:
    assert Request(rank=2, structures="auto").allowed_structures == (Structure.DW_PW, Structure.PW_DW)
    assert Request(budget={"macs": 0.5}, structures="auto").allowed_structures == (
        Structure.PW_DW_PW,
        Structure.DW_PW,
        Structure.PW_DW,
    )
    assert not Request(rank=2, structures="auto").has_free_choice
    fresh = Request(budget={"macs": 0.5}, method="fresh", norm_between=True, structures="auto")  # type: ignore[arg-type]
    assert fresh.allowed_structures == (Structure.DW_PW, Structure.PW_DW)
    assert np.all([Request(rank=1, structures=[each]).allowed_structures == (each,) for each in Structure])
