"""Networks from timm, torchvision, weights files and the user's own code, with what is known about them.

A name becomes a :class:`LoadedModel`: the module, the :class:`ModelSpec` that builds it again offline,
the evaluation transform and the class names that go with its weights. Heads and first layers are replaced here too.
"""

from dsft.models.builder import Builder
from dsft.models.heads import head_layers, head_parameters, replace_head
from dsft.models.inputs import replace_input
from dsft.models.libraries import build_model, list_networks
from dsft.models.load import load_model, preprocessing_of, stated_preprocessing
from dsft.models.spec import LoadedModel, ModelSpec
from dsft.models.timm_library import identify
from dsft.models.weights import Weights, load_weights, read_weights

__all__ = [
    "Builder",
    "LoadedModel",
    "ModelSpec",
    "Weights",
    "build_model",
    "head_layers",
    "head_parameters",
    "identify",
    "list_networks",
    "load_model",
    "load_weights",
    "preprocessing_of",
    "read_weights",
    "replace_head",
    "replace_input",
    "stated_preprocessing",
]
