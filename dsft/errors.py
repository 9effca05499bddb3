"""The exceptions of dsft.

* DsftError                    exit code 1: the run failed
  + TrainingError              the loss is not finite, all batches were empty ...
  + ExportError                a model cannot be exported, or the exported file computes something else
  + InterruptedRun             a signal stopped the run after a checkpoint was saved (exit code 130 or 143)
  + InputError                 exit code 2: invalid input of the user
    - RecipeError              a recipe, an override or a command-line option
    - ModelError               an unknown model, a source that cannot be loaded
      . PretrainedWeightsError published weights that are neither cached nor can be downloaded
    - ConversionError          a module that cannot be converted, a contradictory request
      . BudgetError            a budget that cannot be met
    - DataError                a data set, a split or an image
    - CheckpointError          weights that do not fit, a damaged model folder or one of unknown origin
    - OutputError              an output folder that must not be overwritten

A message contains the place, the rule, the value that was found (its ``repr``), the valid values or the most similar
name, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DsftError(Exception):
    """Base class of all errors that are reported to the user in one message."""

    exit_code = 1


class TrainingError(DsftError):
    """A run failed after it had started."""


class ExportError(DsftError):
    """A model cannot be exported, or the outputs of the exported file differ."""


class InterruptedRun(DsftError):
    """A signal stopped a run, after its last checkpoint was saved.

    Args:
        message: What was saved, and where.
        signal_number: The POSIX number of the signal; the exit code is this number plus 128.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class InputError(DsftError):
    """The user's input is invalid."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, an override or a command-line option is invalid."""


class ModelError(InputError):
    """A model is unknown, or cannot be loaded."""


class PretrainedWeightsError(ModelError):
    """Published weights are neither in the local cache nor can they be downloaded.

    The caller adds how a weights file can be used instead, see :meth:`advise`, since that depends on whether a recipe,
    a command or Python asked for the weights.

    Args:
        model: The network, such as ``timm/resnet18``.
        cause: The reason of the failed download.
        place: The file, and where it is published.
    """

    def __init__(self, model: str, cause: str, place: str) -> None:
        super().__init__(
            f"model {model}: the pretrained weights are not on this machine and could not be downloaded ({cause}). "
            f"Connect to the network, or download {place} elsewhere."
        )
        self.model = model

    def advise(self, advice: str) -> ModelError:
        """Return the error with one more sentence."""
        return ModelError(f"{self} {advice}")


class ConversionError(InputError):
    """A requested conversion is impossible."""


class BudgetError(ConversionError):
    """A budget cannot be met.

    Args:
        message: What was requested, and what to do.
        smallest: The smallest fraction that can be met.
    """

    def __init__(self, message: str, smallest: float) -> None:
        super().__init__(message)
        self.smallest = smallest


class DataError(InputError):
    """A data set, a split or an image is invalid."""


class CheckpointError(InputError):
    """Weights do not fit, or a model folder is damaged or was not written by dsft."""


class OutputError(InputError):
    """An output folder must not be written to."""


def worker_killed(error: BaseException) -> TrainingError | None:
    """Return an error for the user if torch reports that a worker process was killed; None for any other error.

    torch raises the error wherever the main process is at that moment, even in the middle of a step. An exception that
    a worker passes on has another message.
    """
    if not isinstance(error, RuntimeError) or "DataLoader worker (pid" not in str(error):
        return None
    return TrainingError(
        "a worker process of the data loader was killed, usually because memory ran out. Lower data.workers, and "
        f"continue a run with --resume. torch reports: {error}"
    )


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """Return up to ``count`` candidates with a spelling similar to ``name``, the most similar first."""
    return difflib.get_close_matches(name, list(candidates), n=count, cutoff=0.6)


def type_of(value: object) -> str:
    """Return what a message calls a value of the wrong type: its class, or that it is a class."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return a sentence that suggests the most similar candidates, or an empty string if there are none."""
    near = nearest(name, candidates)
    return f" Did you mean {' or '.join(near)}?" if near else ""
