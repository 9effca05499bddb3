"""Model folders on the Hugging Face hub: pushed as one commit, fetched into the hub's cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dsft.artifact.card import hub_header
from dsft.artifact.folder import check_weights
from dsft.artifact.manifest import MANIFEST_FILE, WEIGHTS_FILE, read_manifest
from dsft.errors import DsftError, ModelError

CARD_FILE = "README.md"
DOCUMENTS = ("conversion.json",)
"""What a model folder may hold besides its weights, manifest and card."""

_REFERENCE = re.compile(r"hf/(?P<repository>[^/@]+/[^/@]+)(@(?P<revision>[^@]+))?")
_PATIENCE = 10  # seconds until an unreachable server is given up
_TOKEN = re.compile(r"hf_\w{4,}")


@dataclass(frozen=True)
class HubReference:
    """A model folder on the hub, written ``hf/OWNER/NAME`` or ``hf/OWNER/NAME@REVISION``."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubReference | None:
        """Read a reference; None where the text is none."""
        found = _REFERENCE.fullmatch(text.replace("\\", "/"))  # Windows' paths turn the slashes round
        return cls(found["repository"], found["revision"]) if found is not None else None

    def __str__(self) -> str:
        return f"hf/{self.repository}" + (f"@{self.revision}" if self.revision else "")


def fetch_model_folder(reference: HubReference) -> Path:
    """Return a model folder of the hub in the hub's cache; only what a model folder is made of is downloaded.

    Where the hub cannot be reached, what an earlier download left in the cache is taken.

    Raises:
        ModelError: There is no such repository, it holds no model folder, or it is neither in the cache nor to be had.
    """
    with _explained(f"model {reference}"):
        folder = Path(
            huggingface_hub.snapshot_download(
                reference.repository,
                revision=reference.revision,
                allow_patterns=[MANIFEST_FILE, WEIGHTS_FILE, CARD_FILE, *DOCUMENTS],
                etag_timeout=_PATIENCE,
            )
        )
    if not (folder / MANIFEST_FILE).is_file():
        raise ModelError(
            f"model {reference}: the repository holds no model folder of dsft (it has no {MANIFEST_FILE}). For a "
            "network of timm's say timm/NAME."
        )
    return folder


def push_model_folder(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Write a model folder to the hub as one commit, with a model card that the hub can read.

    Who one is the hub's client knows: from ``HF_TOKEN``, or from ``hf auth login``.

    Args:
        folder: A model folder.
        repository: ``OWNER/NAME``; it is made where there is none.
        private: Make it private; a repository that exists stays as it is.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: The folder is damaged.
        ModelError: The hub refuses, or cannot be reached.
    """
    manifest = read_manifest(folder)
    check_weights(folder, manifest)
    card = hub_header(manifest) + (folder / CARD_FILE).read_text(encoding="utf-8")
    files = [name for name in (WEIGHTS_FILE, MANIFEST_FILE, *DOCUMENTS) if (folder / name).is_file()]
    operations = [CommitOperationAdd(name, str(folder / name)) for name in files]
    operations.append(CommitOperationAdd(CARD_FILE, card.encode()))
    api = HfApi(library_name="dsft")
    with _explained(f"repository {repository!r}"):
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Tell every way in which the hub can fail as an error of ours, without any token."""
    try:
        yield
    except DsftError:
        raise
    except RevisionNotFoundError as error:
        raise ModelError(f"{what}: the repository has no such revision.") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{what}: the hub has no such repository, or it is private. Check the name; for a private one log in with "
            "hf auth login, or set HF_TOKEN."
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(
            f"{what}: is not on this machine, and the hub could not be reached ({_first_line(error)}). Connect to the "
            "network, or copy the folder here and give its path."
        ) from error
    except HFValidationError as error:
        raise ModelError(f"{what}: a repository is called OWNER/NAME ({_first_line(error)}).") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        advice = (
            " Log in with hf auth login, or set HF_TOKEN, as someone who may write there."
            if status in (401, 403)
            else ""
        )
        raise ModelError(f"{what}: the hub refused ({status}: {_first_line(error)}).{advice}") from error
    except Exception as error:  # every way in which a network can be absent
        raise ModelError(f"{what}: the hub could not be reached ({_first_line(error)}). Try again later.") from error


def _first_line(error: Exception) -> str:
    text = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return _TOKEN.sub("hf_***", text)
