"""``dsft.convert``: from a dense network to a depthwise-separable copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from dsft.choices import AUTO, Form, Method, Structure, TaskName
from dsft.conversion.budget import AnyBudget
from dsft.conversion.calibration_set import CalibrationSet
from dsft.conversion.converter import Converter, require_score
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.reconstruction.calibration_data import Calibration
from dsft.conversion.report import ConversionReport, report_costs
from dsft.conversion.request import Rank, Request, read_recover
from dsft.conversion.words import read_setting, read_words
from dsft.measure.example import ExampleInput
from dsft.progress import Report, warn


@dataclass(frozen=True)
class Conversion:
    """A converted network.

    Attributes:
        model: The converted copy. The original is not changed and can be the teacher.
        plan: What each convolution became, and why.
        report: Costs before and after, of the whole network and of each layer, and the errors.
    """

    model: nn.Module
    plan: ConversionPlan
    report: ConversionReport


@torch.inference_mode(mode=False)  # tensors created in inference mode could not be trained
def convert(
    model: nn.Module,
    example_input: ExampleInput,
    *,
    calibration: Calibration | None = None,
    budget: AnyBudget | None = None,
    score: Callable[[nn.Module], float] | None = None,
    rank: Rank | None = None,
    method: str = AUTO,
    structures: Sequence[str] | Literal["auto"] = AUTO,
    form: str = AUTO,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    norm_between: bool = False,
    only_faster: bool = False,
    recover: bool | int = False,
    task: str = TaskName.CLASSIFICATION,
    seed: int = 0,
    report: Report = warn,
) -> Conversion:
    """Replace the convolutions of a network by depthwise-separable ones, in a copy.

    Args:
        model: Any network; it is not changed. Wrappers of ``torch.compile`` and of data parallelism are removed; wrap
            the result again. Convolutions that normalize or standardize their weight in each forward pass start from
            that weight, and training no longer normalizes it.
        example_input: Its input, on its device: a tensor, a list that is its only argument, a tuple of positional or a
            dict of keyword arguments. Shapes, costs and times are those of this input.
        calibration: Batches of inputs, preprocessed and without labels, that the weights are fitted to: a few hundred
            images of the training data. They are held in memory.
        budget: The largest cost of the result, as a share between 0 and 1 of the original's: ``{"macs": f}`` for the
            multiply-accumulates of the whole network, ``{"params": f}`` for its parameters, ``{"latency": f}`` for
            the time of one forward pass, measured on the device with one thread. ``"runtime": "onnxruntime"`` measures
            times there instead of in torch itself. Or ``{"max_drop": p, "by": "macs"}``: the smallest cost at which
            the network loses at most p points of its ``score``. A :class:`dsft.Budget` is the same.
        score: Scores a network in points, more is better, such as top-1 in percent on validation images; with
            ``max_drop`` only. It is called with the network and about ten converted copies.
        rank: Kernels per input channel (``dw_pw``), per output channel (``pw_dw``), per channel of the wider side
            (``pw_dw_pw``) or per group (``low_rank``), the same in every layer, or ``"full"``. Exactly one of
            ``budget`` and ``rank`` is given.
        method: ``refit`` keeps the weights and fits them to the outputs of the original network on the calibration
            data, ``svd`` keeps them without data, ``fresh`` draws random ones; ``auto`` is ``refit`` where there is
            calibration data, else ``svd``.
        structures: What a convolution may be replaced by: ``pw_dw_pw``, ``dw_pw`` and ``pw_dw``, and for 1x1 kernels
            ``low_rank``. Under a budget each layer gets the one with the smallest error at its cost; with ``rank`` it
            gets the first one that fits. ``auto`` takes those of the first three, and the sizes, that are expected to
            be faster than the convolution, with one depthwise kernel for each map; with ``rank`` it is ``dw_pw``.
        form: How an input channel is fed to several kernels: ``multiplier``, ``concatenate``, ``gather`` or
            ``passes``, wherever a layer supports it; ``auto`` takes the one that measures fastest for each layer.
            Times of layers are stored in a cache folder, ``$DSFT_CACHE``.
        include: Patterns of the layers that may be converted.
        exclude: Patterns of the layers that stay dense.
        norm_between: Put a norm and an activation between the two convolutions; with ``fresh`` only.
        only_faster: Keep layers dense that do not measure faster.
        recover: After the fit to calibration data, take gradient steps that bring the outputs of the network's blocks
            closer to those of the original, without labels: True for up to 600 of them within twice the time of the
            conversion before them, or a number. Some of the calibration data is set aside, and decides whether the
            result is kept.
        task: What the outputs of the network mean, one of :class:`dsft.choices.TaskName`. It determines how errors are
            weighted with calibration data.
        seed: Seed of ``fresh``, and of the labels sampled from the outputs.
        report: Receives the progress; by default its warnings are those of Python.

    Raises:
        ConversionError: The settings contradict each other, or cannot be met; the message says what helps.
        ModelError: The runtime is not installed, or cannot run the network.
    """
    request = Request(
        budget=budget,
        rank=rank,
        method=read_setting("method", method, Method),
        structures=AUTO if structures == AUTO else read_words("structures", structures, Structure),
        form=read_setting("form", form, Form),
        include=include,
        exclude=exclude,
        norm_between=norm_between,
        only_faster=only_faster,
        recover=read_recover(recover),
        seed=seed,
    )
    require_score(request, has_score=score is not None)
    statistics = None
    if calibration is not None:
        statistics = CalibrationSet.read(model, calibration, task, seed, report)
    converter = Converter(model, example_input, request, calibration=statistics, report=report)
    converted = converter.convert_within(score)
    costs = report_costs(
        converter.analysis.model,
        converted.model,
        converted.plan,
        converter.analysis.example_input,
        converter.compute,
        request.runtime,
        request.threads,
        report=report,
        sites=converter.analysis.sites,
    )
    return Conversion(converted.model, converted.plan, costs.with_history(converted.history))
