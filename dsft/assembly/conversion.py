"""A network and what a conversion is asked for become a converted network."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dsft.assembly.network import Network
from dsft.choices import AUTO, Method
from dsft.conversion import ConversionPlan, Request, apply_plan
from dsft.conversion.convert import Prepared, prepare, realise
from dsft.conversion.factorization import Weighting
from dsft.conversion.planning.accuracy_search import Trial, meet_max_drop
from dsft.conversion.planning.layer_latency import Clock
from dsft.devices import Compute
from dsft.errors import ConversionError, ModelError
from dsft.measure import run_example
from dsft.preprocessing import Preprocessing
from dsft.progress import Report
from dsft.recipe.sections import ConvertSection


def read_request(section: ConvertSection, seed: int, *, is_trained: bool) -> Request:
    """Translate a recipe's section.

    Args:
        section: What the recipe asks for.
        seed: Seed of whatever weights are drawn.
        is_trained: There are weights to keep; otherwise ``auto`` draws new ones. Kept weights are fitted to
            calibration images where the section asks for some.
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
        seed=seed,
    )


def require_fitting_images(network: Network, compute: Compute) -> None:
    """Run a network once on one image of its size.

    Raises:
        ModelError: Its architecture cannot take such images.
    """
    try:
        run_example(network.module, example_images(network.preprocessing, compute))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        height, width = network.preprocessing.image_size
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"data.image_size: {network.spec} cannot take images of {height} x {width} pixels ({reason}). Choose "
            "another size, or another network."
        ) from error


def example_images(preprocessing: Preprocessing, compute: Compute) -> Tensor:
    """Return a black image ``(1, channels, height, width)`` of the size that a network takes."""
    return compute.place(torch.zeros(1, preprocessing.channels, *preprocessing.image_size))


def require_dense(network: Network) -> None:
    """Check that a network has not been converted.

    Raises:
        ConversionError: It has.
    """
    if network.plan is not None:
        raise ConversionError(
            f"model {network.spec}: {len(network.plan.converted)} of its convolutions are separable already. Leave "
            "the conversion out to tune it further, or convert the network that it was made from."
        )


def plan_network(
    network: Network,
    request: Request,
    compute: Compute,
    report: Report,
    *,
    calibration: Sequence[Tensor] = (),
    is_trained: bool = True,
    known: dict[str, Weighting] | None = None,
) -> Prepared:
    """Plan the conversion of a network for the images that it takes; see :func:`dsft.conversion.convert.prepare`.

    Raises:
        ConversionError: The network is converted already, or the plan cannot be made.
    """
    require_dense(network)
    return prepare(
        network.module,
        example_images(network.preprocessing, compute),
        request,
        calibration,
        is_trained=is_trained,
        clock=Clock(compute, request.runtime, norm_between=request.norm_between, report=report),
        known=known,
        report=report,
        sampled_loss=network.task.objective.sampled_loss,
    )


def apply_to_network(
    network: Network,
    prepared: Prepared,
    compute: Compute,
    report: Report,
    *,
    calibration: Sequence[Tensor] = (),
    seed: int = 0,
) -> Network:
    """Return a converted copy of a network; the original is untouched."""
    example = example_images(network.preprocessing, compute)
    module, plan = realise(network.module, prepared, example, calibration, seed, report)
    return dataclasses.replace(network, module=module, plan=plan)


def replay_plan(network: Network, plan: ConversionPlan) -> Network:
    """Return a converted copy of a network whose new layers have random weights, for a state dict to be loaded."""
    with torch.random.fork_rng(devices=[]):
        return dataclasses.replace(network, module=apply_plan(copy.deepcopy(network.module), plan), plan=plan)


def convert_network(
    network: Network,
    request: Request,
    compute: Compute,
    report: Report,
    *,
    calibration: Sequence[Tensor] = (),
    score: Callable[[Network], float] | None = None,
    is_trained: bool = True,
) -> tuple[Network, tuple[Trial, ...]]:
    """Return a converted copy of a network, and the budgets that were tried on the way.

    Args:
        network: The dense network; it is left as it was.
        request: What the conversion is asked for.
        compute: Where the network is and how it runs.
        report: Receives the progress.
        calibration: Batches that a refit fits the weights to.
        score: Scores a network in points; needed where the request says how many may be lost.
        is_trained: The weights mean something.

    Raises:
        ConversionError: The conversion cannot be done.
    """
    # What the layers cost the network is the same for every budget that is tried.
    known: dict[str, Weighting] = {}

    def attempt(request: Request) -> Network:
        prepared = plan_network(
            network, request, compute, report, calibration=calibration, is_trained=is_trained, known=known
        )
        return apply_to_network(network, prepared, compute, report, calibration=calibration, seed=request.seed)

    if request.max_drop is None:
        return attempt(request), ()
    if score is None:
        raise ConversionError("budget max_drop: needs a score, found none.")
    return meet_max_drop(request, request.max_drop, attempt, score, score(network), report)
