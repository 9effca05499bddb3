"""Push model folders to the Hugging Face hub, and fetch them from it."""

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
from dsft.artifact.timm_config import TIMM_CONFIG_FILE
from dsft.errors import DsftError, ModelError
from dsft.storage import json_text

CARD_FILE = "README.md"
DOCUMENTS = ("conversion.json", TIMM_CONFIG_FILE)
"""Optional files of a model folder."""

_REFERENCE = re.compile(r"hf/(?P<repository>[^/@]+/[^/@]+)(@(?P<revision>[^@]+))?")
_TIMEOUT_S = 10
_TOKEN = re.compile(r"hf_\w{4,}")


@dataclass(frozen=True)
class HubReference:
    """A model folder on the hub, written ``hf/OWNER/NAME`` or ``hf/OWNER/NAME@REVISION``."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubReference | None:
        """Parse a reference; None if the text is not one."""
        found = _REFERENCE.fullmatch(text.replace("\\", "/"))  # pathlib writes backslashes on Windows
        return cls(found["repository"], found["revision"]) if found is not None else None

    def __str__(self) -> str:
        return f"hf/{self.repository}" + (f"@{self.revision}" if self.revision else "")


def fetch_model_folder(reference: HubReference) -> Path:
    """Download a model folder to the hub's cache and return its path; other files of the repository are skipped.

    Without internet access the cached copy is used.

    Raises:
        ModelError: There is no such repository, it holds no model folder, or it is not cached and the hub cannot be
            reached.
    """
    with _explained(f"model {reference}"):
        folder = Path(
            huggingface_hub.snapshot_download(
                reference.repository,
                revision=reference.revision,
                allow_patterns=[MANIFEST_FILE, WEIGHTS_FILE, CARD_FILE, *DOCUMENTS],
                etag_timeout=_TIMEOUT_S,
            )
        )
    if not (folder / MANIFEST_FILE).is_file():
        raise ModelError(
            f"model {reference}: the repository holds no model folder of dsft (it has no {MANIFEST_FILE}). For one of "
            "timm's networks give timm/NAME."
        )
    return folder


def push_model_folder(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Push a model folder to the hub as one commit, with the hub's metadata in its model card.

    The published manifest names no folders of this machine; see :meth:`Manifest.without_local_paths`. The hub's client
    authenticates with ``HF_TOKEN`` or the token of ``hf auth login``.

    Args:
        folder: A model folder.
        repository: ``OWNER/NAME``; created if it does not exist.
        private: Create it as a private repository; an existing one is not changed.
        message: The commit message.

    Returns:
        The URL of the commit.

    Raises:
        CheckpointError: The folder is damaged.
        ModelError: The hub refuses, or cannot be reached.
    """
    manifest = read_manifest(folder)
    check_weights(folder, manifest)
    published = json_text(manifest.without_local_paths().to_dict())
    card = hub_header(manifest) + (folder / CARD_FILE).read_text(encoding="utf-8")
    files = [name for name in (WEIGHTS_FILE, *DOCUMENTS) if (folder / name).is_file()]
    operations = [CommitOperationAdd(name, str(folder / name)) for name in files]
    operations += [
        CommitOperationAdd(name, text.encode()) for name, text in ((MANIFEST_FILE, published), (CARD_FILE, card))
    ]
    api = HfApi(library_name="dsft")
    with _explained(f"repository {repository!r}"):
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Translate every failure of the hub's client into a ``ModelError`` that holds no token."""
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
            "internet, or copy the folder here and give its path."
        ) from error
    except HFValidationError as error:
        raise ModelError(f"{what}: expected a repository as OWNER/NAME ({_first_line(error)}).") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no response"
        advice = (
            " Log in with hf auth login, or set HF_TOKEN, as a user with write access." if status in (401, 403) else ""
        )
        raise ModelError(f"{what}: the hub refused ({status}: {_first_line(error)}).{advice}") from error
    except Exception as error:  # the client raises many kinds where there is no network
        raise ModelError(f"{what}: the hub could not be reached ({_first_line(error)}). Try again later.") from error


def _first_line(error: Exception) -> str:
    text = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return _TOKEN.sub("hf_***", text)
