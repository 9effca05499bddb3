"""The candidates of every layer, from which a plan chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import Weighting
from dsft.conversion.request import Request
from dsft.conversion.structures import STRUCTURES, Candidate, CandidateOptions
from dsft.errors import ConversionError
from dsft.progress import Report, report_task


def collect_candidates(
    sites: Sequence[Site],
    request: Request,
    *,
    is_trained: bool,
    weightings: Mapping[str, Weighting],
    report: Report,
) -> list[tuple[Candidate, ...]]:
    """Return the candidates of every layer, one for each allowed structure that fits its kernel.

    With a rank in the request it is the first such structure alone, since nothing is left to choose.

    Args:
        sites: The layers that can be converted.
        request: The settings of the conversion.
        is_trained: The weights are trained, see :class:`~dsft.conversion.structures.CandidateOptions`.
        weightings: The cost of changing each layer's kernel, by name; empty where it is not known.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: A weight is not finite; the message names the layer.
    """
    collected = []
    with report_task(report, "decomposing kernels", len(sites), "layers") as advance:
        for done, site in enumerate(sites, start=1):
            structures = [structure for structure in request.allowed_structures if site.fits(structure)]
            options = CandidateOptions(
                is_trained, request.norm_between, weightings.get(site.name), one_kernel=request.has_free_choice
            )
            try:
                collected.append(
                    tuple(
                        STRUCTURES[structure].make_candidate(site, options)
                        for structure in structures[: None if request.rank is None else 1]
                    )
                )
            except ConversionError as error:
                raise ConversionError(f"layer {site.name!r}: {error}") from error
            advance(done)
    return collected
