"""The layers that a conversion may change: those without an obstacle that the patterns select."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from dsft.choices import Reason
from dsft.conversion.discovery.sites import Site
from dsft.conversion.request import Request
from dsft.errors import ConversionError, did_you_mean


def select_layers(sites: Sequence[Site], request: Request) -> dict[Site, Reason | None]:
    """Return for every convolution why it stays dense whatever the budget is, or None where it can be converted.

    Args:
        sites: All convolutions of a network.
        request: The patterns that include and exclude layers.

    Raises:
        ConversionError: A pattern matches no convolution, or no convolution can be converted.
    """
    _check_patterns([*request.include, *request.exclude], sites)
    obstacles = {site: site.obstacle or exclusion(site, request) for site in sites}
    if None not in obstacles.values():
        raise ConversionError(_nothing_to_convert(obstacles))
    return obstacles


def exclusion(site: Site, request: Request) -> Reason | None:
    """Return the reason for which the patterns leave a layer out, or None."""
    is_selected = _matches(site, request.include) and not _matches(site, request.exclude)
    return None if is_selected else Reason.EXCLUDED


def _matches(site: Site, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(alias, pattern) for alias in site.aliases for pattern in patterns)


def _check_patterns(patterns: Sequence[str], sites: Sequence[Site]) -> None:
    names = [alias for site in sites for alias in site.aliases]
    for pattern in patterns:
        if pattern != "*" and not any(_matches(site, [pattern]) for site in sites):
            raise ConversionError(
                f"pattern {pattern!r} matches none of the network's {len(names)} convolutions."
                f"{did_you_mean(pattern, names) or ' The first is ' + repr(names[0]) + '.' if names else ''}"
            )


def _nothing_to_convert(obstacles: Mapping[Site, Reason | None]) -> str:
    found = list(obstacles.values())
    counts = {reason: found.count(reason) for reason in Reason if reason in found}
    reasons = ", ".join(f"{count}: {reason.message}" for reason, count in counts.items()) or "there is none"
    return f"no convolution can be converted, of {len(obstacles)} ({reasons})."
