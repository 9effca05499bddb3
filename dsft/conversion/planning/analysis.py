"""What planning needs to know of a network, measured once for all budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from dsft.choices import Cost, Method, Reason
from dsft.conversion.discovery.preconditions import check_preconditions, require_unconverted, unwrap_network
from dsft.conversion.discovery.sites import Site, find_sites
from dsft.conversion.factorization import ChannelSpectrum, Weighting
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.planning.candidates import collect_candidates
from dsft.conversion.planning.cost_model import CostModel, macs_model, params_model
from dsft.conversion.planning.selection import select_layers
from dsft.conversion.request import Request
from dsft.conversion.structures import Candidate
from dsft.measure.example import ExampleInput
from dsft.progress import Report, ignore

MeasureWeightings = Callable[[Sequence[Site]], Mapping[str, Weighting]]
"""Measures the cost of changing each layer's kernel, by name."""


@dataclass(frozen=True)
class NetworkAnalysis:
    """A network as planning sees it.

    Attributes:
        model: The dense network, without what compiles or distributes it.
        example_input: The input that shapes and costs are those of.
        method: How the weights will be derived.
        is_trained: The weights are trained.
        obstacles: Every convolution, with why it stays dense whatever the budget is, or None.
        candidates: The candidates of each convolution that can be converted.
        weightings: The cost of changing each layer's kernel, by name; empty where it is not measured.
        costs: The costs that are known without timing anything.
    """

    model: nn.Module
    example_input: ExampleInput
    method: Method
    is_trained: bool
    obstacles: Mapping[Site, Reason | None]
    candidates: Sequence[tuple[Candidate, ...]]
    weightings: Mapping[str, Weighting]
    costs: Mapping[Cost, CostModel]

    @property
    def sites(self) -> dict[str, Site]:
        """The convolutions by name."""
        return {site.name: site for site in self.obstacles}

    def spectra(self, plan: ConversionPlan) -> dict[str, ChannelSpectrum]:
        """Return the decompositions that the factors of a plan can be made from, by name."""
        chosen = {(layer.name, layer.structure) for layer in plan.converted}
        found = {
            candidate.site.name: candidate.spectrum
            for candidates in self.candidates
            for candidate in candidates
            if (candidate.site.name, candidate.structure) in chosen
        }
        return {name: spectrum for name, spectrum in found.items() if spectrum is not None}


def analyze_network(
    model: nn.Module,
    example_input: ExampleInput,
    request: Request,
    *,
    is_trained: bool = True,
    weigh: MeasureWeightings | None = None,
    report: Report = ignore,
) -> NetworkAnalysis:
    """Find the convolutions of a network and decompose their kernels.

    Args:
        model: The dense network; it is run and not changed.
        example_input: Its input.
        request: The settings of the conversion, apart from the budget.
        is_trained: The weights are trained; otherwise a budget adds kernels to all channels of a layer at once.
        weigh: Measures the cost of changing each layer's kernel; None counts every number of a kernel alike, relative
            to its layer.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: A pattern matches no layer, no layer can be converted, a weight is not finite, or the network
            is scripted, lazy or compiled in parts.
    """
    model = unwrap_network(model)
    check_preconditions(model)
    require_unconverted(model)
    obstacles = select_layers(find_sites(model, example_input, request.allowed_structures), request)
    eligible = [site for site, obstacle in obstacles.items() if obstacle is None]
    weightings = weigh(eligible) if weigh is not None else {}
    return NetworkAnalysis(
        model=model,
        example_input=example_input,
        method=request.choose_method(has_calibration=weigh is not None),
        is_trained=is_trained,
        obstacles=obstacles,
        candidates=collect_candidates(eligible, request, is_trained=is_trained, weightings=weightings, report=report),
        weightings=weightings,
        costs={Cost.MACS: macs_model(model, example_input), Cost.PARAMS: params_model(model)},
    )
