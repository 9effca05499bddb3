"""Every error that dsft raises on purpose.

* DsftError               exit code 1: the run itself failed
  + TrainingError         the loss is not finite, every batch was empty ...
  + ExportError           an exported file is not what the model is, or cannot be made
  + InterruptedRun        a signal stopped the run after a checkpoint was saved (exit code 130 or 143)
  + InputError            exit code 2: something the user gave is at fault
    - RecipeError         a recipe, an override or a flag
    - ModelError          an unknown model, a source that cannot be loaded
    - ConversionError     a module that cannot be converted, a request that contradicts itself
      . BudgetError       a budget that cannot be met
    - DataError           a data set, a split or an image
    - CheckpointError     weights that do not fit, a damaged or foreign model folder
    - OutputError         an output folder that may not be written

A message says where, the rule, what was found (its ``repr``), the valid values or the nearest name,
and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DsftError(Exception):
    """Anything that dsft reports to its user in one message."""

    exit_code = 1


class TrainingError(DsftError):
    """A run that started well and failed."""


class ExportError(DsftError):
    """A model cannot be exported, or the exported file answers otherwise."""


class InterruptedRun(DsftError):
    """A run that a signal stopped; its last checkpoint is on disk.

    Args:
        message: What was saved and where.
        signal_number: The POSIX number of the signal; the exit code is 128 plus it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class InputError(DsftError):
    """Something that the user gave is at fault."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, an override or a command-line flag is at fault."""


class ModelError(InputError):
    """A model is unknown, or its source cannot be loaded."""


class ConversionError(InputError):
    """A conversion was asked for that cannot be done."""


class BudgetError(ConversionError):
    """A budget cannot be met.

    Args:
        message: What was asked for, and what helps.
        smallest: The smallest share that can be met.
    """

    def __init__(self, message: str, smallest: float) -> None:
        super().__init__(message)
        self.smallest = smallest


class DataError(InputError):
    """A data set, a split or an image is at fault."""


class CheckpointError(InputError):
    """Weights do not fit, or a model folder is damaged or foreign."""


class OutputError(InputError):
    """An output folder may not be written."""


def worker_killed(error: BaseException) -> TrainingError | None:
    """Return what happened where torch says that a process that reads images is gone; None of any other error.

    torch says it wherever the program stands at that moment, also amid a step. An error that a worker passes on has
    other words.
    """
    if not isinstance(error, RuntimeError) or "DataLoader worker (pid" not in str(error):
        return None
    return TrainingError(
        "a process that reads images was killed, most often for want of memory. Lower data.workers, and go on with "
        f"--resume where it is a run. torch says: {error}"
    )


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """Return up to ``count`` candidates that are spelt most like ``name``, the nearest first."""
    return difflib.get_close_matches(name, list(candidates), n=count, cutoff=0.6)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return a sentence that proposes the nearest candidates, or an empty string if none is near."""
    near = nearest(name, candidates)
    return f" Did you mean {' or '.join(near)}?" if near else ""
