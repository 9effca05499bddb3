"""OpenVINO and NNCF, imported without their telemetry."""

from __future__ import annotations

import importlib
import sys
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
