from __future__ import annotations

from typing import Any

import pytest

from dsft.choices import Cost, Form, Method, Order, Runtime, Structure
from dsft.conversion import Budget, MaxDrop, Request
from dsft.errors import ConversionError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of budget and rank is needed, found neither"),
        ({"budget": Budget(Cost.MACS, 0.5), "rank": 1}, "found both"),
        ({"rank": 0}, "at least 1, or 'full', is needed, found 0"),
        ({"rank": "half"}, "found 'half'"),
        ({"rank": True}, "found True"),
        ({"rank": 1, "include": "conv*"}, r"include: a list of patterns is needed, such as \['conv\*'\]"),
        ({"rank": 1, "exclude": "conv*"}, "exclude: a list of patterns is needed"),
        ({"rank": 1, "method": "sdv"}, "method: one of auto, fresh, svd, refit is needed, found 'sdv'. Did you mean"),
        ({"rank": 1, "order": "pw"}, "order: one of auto, dw_pw, pw_dw is needed, found 'pw'"),
        ({"rank": 1, "form": "gater"}, "form: one of .* found 'gater'. Did you mean gather"),
        ({"rank": 1, "norm_between": True}, "norm_between: goes with method fresh only, found 'svd'"),
        ({"rank": 1, "structures": "dw_pw"}, r"structures: a list of words is needed, such as \['dw_pw'\]"),
        ({"rank": 1, "structures": []}, "structures: at least one of dw_pw, pw_dw, low_rank is needed, found none"),
        ({"rank": 1, "structures": ["lowrank"]}, "structures: one of .* found 'lowrank'. Did you mean low_rank"),
        ({"rank": 1, "structures": ["low_rank"], "order": "pw_dw"}, r"order: pw_dw .* found \['low_rank'\]. Add it"),
        (
            {"rank": 1, "structures": ["dw_pw", "low_rank"], "method": "fresh", "norm_between": True},
            "norm_between: goes with dw_pw and pw_dw, found low_rank",
        ),
    ],
)
def test_contradictions_and_unknown_words_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        Request(**arguments)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan"), float("inf")])
def test_a_share_is_above_0_and_up_to_1(share: float) -> None:
    with pytest.raises(ConversionError, match=f"budget macs: a share above 0 and up to 1 is needed, found {share}"):
        Budget(Cost.MACS, share)


@pytest.mark.parametrize(
    "budget",
    [
        {"mac": 0.5},
        0.5,
        {"macs": "0.5"},
        {"macs": True},
        {"macs": None},
        {},
        {"runtime": "eager"},
        {"macs": 0.5, "mac": 1},
    ],
)
def test_budgets_of_another_form_are_errors(budget: Any) -> None:
    with pytest.raises(ConversionError, match=r"budget: one key, macs.* with a number is needed, as .'macs': 0.5."):
        Budget.read(budget)


def test_budgets_are_read_as_python_and_recipes_write_them() -> None:
    assert Budget.read(None) is None
    assert Budget.read({"macs": 1}) == Budget(Cost.MACS, 1.0)
    assert Budget.read({"params": 0.25}) == Budget(Cost.PARAMS, 0.25)
    there = Budget.read({"latency": 0.5, "runtime": "onnxruntime"})
    assert there == Budget(Cost.LATENCY, 0.5, Runtime.ONNXRUNTIME)
    assert Request(budget=there).runtime is Runtime.ONNXRUNTIME
    assert Request(rank=1).runtime is Runtime.EAGER
    with pytest.raises(ConversionError, match="budget runtime: one of eager, onnxruntime is needed, found 'onnx'"):
        Budget.read({"latency": 0.5, "runtime": "onnx"})


def test_what_may_be_lost_stands_in_place_of_a_budget() -> None:
    lost = {"max_drop": 1, "by": "params"}
    assert MaxDrop.read(lost) == MaxDrop(1, Cost.PARAMS)
    assert MaxDrop.read({"max_drop": 0.5}) == MaxDrop(0.5, Cost.MACS)
    assert Budget.read(lost) is None
    assert MaxDrop.read({"macs": 0.5}) is None
    assert MaxDrop.read(None) is None
    request = Request(max_drop=MaxDrop(1, Cost.PARAMS), method=Method.FRESH, seed=3)
    budget = Budget(Cost.PARAMS, 0.4)
    assert request.at(budget) == Request(budget=budget, method=Method.FRESH, seed=3)
    assert request.orders == (Order.DW_PW, Order.PW_DW)
    with pytest.raises(ConversionError, match="exactly one of budget and rank is needed, found both"):
        Request(max_drop=MaxDrop(1), rank=1)
    with pytest.raises(ConversionError, match="budget: max_drop stands in place of a share, found both"):
        Request(max_drop=MaxDrop(1), budget=budget)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ({"max_drop": -1}, "budget max_drop: points, a number of at least 0, are needed, found -1"),
        ({"max_drop": float("nan")}, "found nan"),
        ({"max_drop": "1"}, "found '1'"),
        ({"max_drop": True}, "found True"),
        ({"max_drop": 1, "by": "flops"}, "budget by: one of macs, params, latency is needed, found 'flops'"),
        ({"max_drop": 1, "macs": 0.5}, "budget: max_drop goes with by alone, found 'macs' as well"),
    ],
)
def test_losses_of_another_form_are_errors(lost: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        MaxDrop.read(lost)


def test_words_may_be_plain_text() -> None:
    texts: dict[str, Any] = {"method": "fresh", "order": "pw_dw", "form": "gather"}
    request = Request(rank="full", **texts)
    assert (request.method, request.order, request.form) == (Method.FRESH, Order.PW_DW, Form.GATHER)
    assert all(isinstance(word, Method | Order | Form) for word in (request.method, request.order, request.form))


def test_the_orders_are_those_of_the_structures() -> None:
    budget = Budget(Cost.MACS, 0.5)
    assert Request(budget=budget).orders == (Order.DW_PW, Order.PW_DW)
    assert Request(rank=1).orders == (Order.DW_PW,)
    assert Request(budget=budget, order=Order.PW_DW, structures=tuple(Structure)).orders == (Order.PW_DW,)
    assert Request(rank=1, structures=[Structure.LOW_RANK, Structure.PW_DW]).orders == (Order.PW_DW,)
    assert Request(budget=budget, structures=[Structure.LOW_RANK]).orders == ()


def test_auto_keeps_the_weights() -> None:
    assert Request(rank=1).derivation is Method.SVD
    assert Request(rank=1, method=Method.FRESH).derivation is Method.FRESH
