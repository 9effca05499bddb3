"""Networks that timm reads in a repository of the Hugging Face hub or a folder, and their files in the local cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError
from torch import nn

from dsft.errors import ModelError, PretrainedWeightsError
from dsft.progress import Note, Report, ignore

HUB, FOLDER = "hf-hub:", "local-dir:"
"""How timm's names of networks begin that it reads in a repository of the hub, ``hf-hub:OWNER/NAME[@REVISION]``, and in
a folder, which contain the configuration of the network (``config.json``) and its weights."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""The file names of weights on the hub in order of preference."""

_CONFIG = "config.json"

# Timeout in seconds for an unreachable server.
_TIMEOUT_S = 10


def is_stored(name: str) -> bool:
    """Return whether timm reads a network of that name in a repository or folder."""
    return any(name.startswith(prefix) and len(name) > len(prefix) for prefix in (HUB, FOLDER))


def stored_outline(name: str, report: Report = ignore) -> nn.Module:
    """Return the network of a repository or folder without weights, on the meta device.

    Args:
        name: The name, of which :func:`is_stored` is true.
        report: Receives a message before a download.

    Raises:
        ModelError: The folder has no configuration, or timm cannot build the network that it describes.
        PretrainedWeightsError: The repository is neither in the local cache nor can it be reached.
    """
    if name.startswith(HUB):
        find_on_hub(f"timm/{name}", name.removeprefix(HUB), [_CONFIG], report)
    elif not (config := Path(name.removeprefix(FOLDER)) / _CONFIG).is_file():
        raise ModelError(f"model timm/{name}: expected the configuration of a network of timm in {str(config)!r}.")
    try:
        with torch.device("meta"):
            module: nn.Module = timm.create_model(name)
    except Exception as error:  # what timm raises depends on what is wrong in the configuration
        raise ModelError(
            f"model timm/{name}: timm cannot build what its {_CONFIG} describes ({first_line(error)})."
        ) from error
    return module


def find_on_hub(label: str, repository: str, files: Sequence[str], report: Report) -> Path | None:
    """Find the first of several files in the local cache, or check that the hub is reachable.

    By default the hub's client sends a request even for a cached file, and without a network connection it retries for
    most of a minute.

    Args:
        label: The network, for messages.
        repository: ``OWNER/NAME[@REVISION]``.
        files: Names of the files, in order of preference.
        report: Receives a message if one has to be downloaded.

    Returns:
        The cached file; None if there is none, and the hub was reached.

    Raises:
        PretrainedWeightsError: No file is cached, and the hub cannot be reached.
    """
    identifier, _, revision = repository.partition("@")
    for file in files:
        cached = huggingface_hub.try_to_load_from_cache(identifier, file, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    for file in files:
        url = huggingface_hub.hf_hub_url(identifier, file, revision=revision or None)
        try:
            huggingface_hub.get_hf_file_metadata(url, timeout=_TIMEOUT_S)
        except EntryNotFoundError:
            continue
        except Exception as error:  # a missing network connection has many types of errors
            raise unreachable(label, repository, error, files[0]) from error
        report(Note(f"model: downloading {file} of {repository} from the Hugging Face hub"))
        break
    return None


def unreachable(label: str, repository: str, error: Exception, file: str = WEIGHTS[0]) -> PretrainedWeightsError:
    """Return the error of a file on the hub that cannot be had."""
    return PretrainedWeightsError(label, first_line(error), f"{file} of {repository} on the Hugging Face hub")


def first_line(error: Exception) -> str:
    """Return the class of an error and the first line of its message."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
