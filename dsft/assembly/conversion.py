"""From a recipe's section and a network to a converted network."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dsft import conversion
from dsft.assembly.network import Network
from dsft.choices import AUTO, Method
from dsft.conversion import CalibrationSet, ConversionHistory, ConversionPlan, Converted, Converter, Request
from dsft.data.inputs import INPUTS
from dsft.devices import Compute
from dsft.errors import ConversionError, ModelError
from dsft.measure import run_example, with_raw_outputs
from dsft.models import as_detector
from dsft.preprocessing import InputPreprocessing
from dsft.progress import Report
from dsft.recipe.sections import ConvertSection


def read_request(section: ConvertSection, seed: int, *, is_trained: bool) -> Request:
    """Translate a recipe's section.

    Args:
        section: The recipe's section.
        seed: Seed of random weights.
        is_trained: The network has trained weights; otherwise ``auto`` is ``fresh``. Weights that are kept are fitted
            to calibration images if the section asks for any.
    """
    method = section.method
    if method == AUTO:
        kept = Method.REFIT if section.calibration.images else Method.SVD
        method = kept if is_trained else Method.FRESH
    return Request(
        budget=section.budget.model_dump(exclude_none=True) if section.budget is not None else None,
        rank=section.rank,
        method=method,
        structures=section.structures,
        form=section.form,
        include=section.include,
        exclude=section.exclude,
        norm_between=section.norm_between,
        only_faster=section.only_faster,
        recover=section.recover.steps if section.recover is not None and method is Method.REFIT else None,
        seed=seed,
    )


def require_fitting_input(network: Network, compute: Compute) -> None:
    """Run a network once on one input of its size.

    Raises:
        ModelError: Its architecture does not accept inputs of this size.
    """
    try:
        run_example(network.module, example_input(network.preprocessing, compute))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        given, reason = network.preprocessing, next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"{given.size_key}: {network.spec} does not accept {given.kind.plural} of {given.description} ({reason}). "
            f"Choose another size, or another network.{given.advice}"
        ) from error


def example_input(preprocessing: InputPreprocessing, compute: Compute, batch_size: int = 1) -> Tensor:
    """Return black images, or other inputs of zeros, ``(batch, channels, *size)`` of the size that a network takes."""
    return compute.place(INPUTS[preprocessing.kind].blank(preprocessing, batch_size))


def require_dense(network: Network) -> None:
    """Check that a network has not been converted.

    Raises:
        ConversionError: It has.
    """
    if network.is_converted:
        count = len(network.required_plan.converted)
        raise ConversionError(
            f"model {network.spec}: {count} of its convolutions are converted already. Train it "
            "further without the conversion, or convert the network that it was made from."
        )


def open_converter(
    network: Network,
    request: Request,
    compute: Compute,
    report: Report,
    *,
    calibration: Sequence[Tensor] = (),
    is_trained: bool = True,
) -> Converter:
    """Analyze a network for conversions to any number of budgets.

    Args:
        network: The dense network; it is not changed.
        request: The settings of the conversion.
        compute: Where the network is, and how it runs.
        report: Receives the progress.
        calibration: Batches of images that the method ``refit`` fits the weights to.
        is_trained: The weights are trained.

    Raises:
        ConversionError: The network is converted already, or cannot be converted.
    """
    require_dense(network)
    statistics = None
    if calibration:
        loss = network.task.objective.sampled_loss
        statistics = CalibrationSet(with_raw_outputs(network.module), calibration, loss, request.seed, report)
    return Converter(
        with_raw_outputs(network.module),
        example_input(network.preprocessing, compute),
        request,
        calibration=statistics,
        compute=compute,
        is_trained=is_trained,
        report=report,
    )


def as_converted(network: Network, converted: Converted) -> Network:
    """Return a network with the module and the plan of its conversion."""
    return dataclasses.replace(network, module=as_detector(converted.model), plan=converted.plan)


def replay_plan(network: Network, plan: ConversionPlan) -> Network:
    """Return a converted copy of a network whose new layers have random weights, for a state dict to be loaded."""
    with torch.random.fork_rng(devices=[]):
        module = conversion.replay_plan(copy.deepcopy(network.module), plan)
    return dataclasses.replace(network, module=module, plan=plan)


def convert_network(
    network: Network,
    request: Request,
    compute: Compute,
    report: Report,
    *,
    calibration: Sequence[Tensor] = (),
    score: Callable[[Network], float] | None = None,
    is_trained: bool = True,
) -> tuple[Network, ConversionHistory]:
    """Return a converted copy of a network, and how it came about.

    Args:
        network: The dense network; it is not changed.
        request: The settings of the conversion.
        compute: Where the network is, and how it runs.
        report: Receives the progress.
        calibration: Batches of images that the method ``refit`` fits the weights to.
        score: Scores a network in points; used where the request limits the loss of score.
        is_trained: The weights are trained.

    Raises:
        ConversionError: The conversion cannot be done.
    """
    converter = open_converter(network, request, compute, report, calibration=calibration, is_trained=is_trained)

    def score_module(module: torch.nn.Module) -> float:
        if score is None:
            raise ConversionError("budget max_drop: needs a score, found none.")
        return score(dataclasses.replace(network, module=as_detector(module)))

    converted = converter.convert_within(None if request.max_drop is None else score_module)
    return as_converted(network, converted), converted.history
