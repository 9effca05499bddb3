"""The packages of optional extras: whether they are installed, and what they print."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dsft.errors import ModelError
from dsft.number_format import plural


def require_packages(
    what: str, extra: str, modules: Sequence[str], *, oldest: Mapping[str, tuple[int, ...]] | None = None
) -> None:
    """Check that packages are installed, and recent enough.

    Args:
        what: What needs them, such as ``ONNX Runtime``.
        extra: The extra of dsft that installs them.
        modules: Import names of the packages.
        oldest: For some distributions the oldest version that works, such as ``{"openvino": (2026, 0)}``.

    Raises:
        ModelError: One of them is missing or too old.
    """
    command = f"Install the extra: pip install 'dsft[{extra}]'"
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise ModelError(
            f"{what} needs the {plural(len(missing), 'package').partition(' ')[2]} {', '.join(missing)}, which {verb} "
            f"not installed. {command}"
        )
    for name, least in (oldest or {}).items():
        found = importlib.metadata.version(name)
        if tuple(map(int, re.findall(r"\d+", found)[: len(least)])) < least:
            raise ModelError(
                f"{what} needs {name} {'.'.join(map(str, least))} or newer, found {found}. {command} --upgrade"
            )


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress log messages, warnings and progress bars of a package, which users cannot act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
