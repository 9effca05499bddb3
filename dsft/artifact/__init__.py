"""The model folder: safetensors weights, a manifest from which the network is rebuilt, and a model card.

A folder is written atomically. It loads without internet access and without the weights that the model was
converted from: the dense network is built from its spec, the conversion plan is applied to it, and the tensors are
loaded.
"""

from dsft.artifact.folder import Artifact, build_outline, load_model_folder, save_model
from dsft.artifact.manifest import FORMAT_VERSION, Manifest, ModelDescription, Provenance, read_manifest

__all__ = [
    "FORMAT_VERSION",
    "Artifact",
    "Manifest",
    "ModelDescription",
    "Provenance",
    "build_outline",
    "load_model_folder",
    "read_manifest",
    "save_model",
]
