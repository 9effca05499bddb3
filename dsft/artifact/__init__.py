"""The model folder: safetensors weights, a manifest that rebuilds the network around them, a model card.

A folder is written whole or not at all. It loads with no network connection and without the weights that
the model came from: the skeleton is built from its spec, the conversion plan is replayed on it, and the
tensors are loaded.
"""

from dsft.artifact.folder import Artifact, build_outline, load_model_folder, save_model
from dsft.artifact.manifest import FORMAT_VERSION, Manifest, read_manifest

__all__ = [
    "FORMAT_VERSION",
    "Artifact",
    "Manifest",
    "build_outline",
    "load_model_folder",
    "read_manifest",
    "save_model",
]
