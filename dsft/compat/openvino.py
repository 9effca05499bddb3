"""OpenVINO and NNCF, imported without their telemetry, and OpenVINO's core, of which a process has one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_TELEMETRY = "openvino_telemetry"


def import_quietly(name: str) -> Any:
    """Import ``openvino``, ``nncf`` or one of their modules without ``openvino_telemetry``.

    Both packages report their use over the network from their import on, unless the user has opted out. They work
    without the package that does so: an entry of None in ``sys.modules`` makes importing it fail, as if it were not
    installed. A process that has imported OpenVINO before is left as it is.

    Args:
        name: Dotted name of the module.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]
    return importlib.import_module(name)


@cache
def openvino_core() -> Any:
    """Return the one ``openvino.Core`` of this process.

    A core gives the thread that makes it another stack for signal handlers, and frees it when it ends. Of two cores,
    the one that ends last brings back the stack that the other has freed. The next signal with a handler, such as the
    one of torch's data loaders for processes that end, then ends the process (seen with OpenVINO 2026.4).
    """
    return import_quietly("openvino").Core()


@contextmanager
def one_core() -> Iterator[None]:
    """Let ``openvino.compile_model``, which NNCF calls, use the one core of this process; see :func:`openvino_core`."""
    openvino = import_quietly("openvino")
    original = openvino.compile_model
    openvino.compile_model = openvino_core().compile_model
    try:
        yield
    finally:
        openvino.compile_model = original
