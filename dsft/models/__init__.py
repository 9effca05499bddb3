"""Networks from timm, torchvision, weights files and the user's own code, with their metadata.

:func:`load_model` returns a :class:`LoadedModel`: the module, the :class:`ModelSpec` from which it can be rebuilt
offline, and the evaluation transform and class names of its weights. The package also replaces heads and first layers.
:mod:`dsft.models.libraries` is the registry of libraries.
"""

from dsft.models.builder import Builder
from dsft.models.detector import Detector, as_detector, wrap_detector
from dsft.models.heads import head_layers, head_parameters, replace_head
from dsft.models.inputs import replace_input
from dsft.models.libraries import build_model, library_of, list_networks
from dsft.models.load import load_model, preprocessing_from_module, preprocessing_of
from dsft.models.spec import LoadedModel, ModelSpec
from dsft.models.timm_library import identify
from dsft.models.weights import Weights, load_weights, read_weights

__all__ = [
    "Builder",
    "Detector",
    "LoadedModel",
    "ModelSpec",
    "Weights",
    "as_detector",
    "build_model",
    "head_layers",
    "head_parameters",
    "identify",
    "library_of",
    "list_networks",
    "load_model",
    "load_weights",
    "preprocessing_from_module",
    "preprocessing_of",
    "read_weights",
    "replace_head",
    "replace_input",
    "wrap_detector",
]
