"""A file of a runtime as a module, to be scored and timed like any network."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from dsft.choices import Runtime
from dsft.errors import ModelError
from dsft.runtimes.registry import FILE_FORMATS, RUNTIMES
from dsft.runtimes.runtime import FileFormat

SCORED_SUFFIXES = {
    file_format.suffix: (runtime, file_format)
    for runtime, file_format in FILE_FORMATS.values()
    if file_format.is_trusted
}
"""The files that can be loaded, whoever wrote them: their runtime and format by their suffix."""


class ExportedNetwork(nn.Module):
    """A file in its runtime, on the CPU and with one thread.

    Args:
        path: A file that ``dsft export`` has written.
        params: Parameters of the network that was exported.
        macs: Its multiply-accumulates for one image.

    Raises:
        ModelError: The suffix is unknown, or the runtime is not usable or cannot run the file.
    """

    def __init__(self, path: Path, params: int, macs: int) -> None:
        super().__init__()
        self.runtime, file_format = format_of_file(path)
        RUNTIMES[self.runtime].require_usable()
        self.path, self.params, self.macs = path, params, macs
        self._session = file_format.load(path, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the main output ``(batch, ...)`` for images ``(batch, channels, height, width)``.

        Raises:
            ModelError: The file does not take images of this shape.
        """
        try:
            return self._session((images.float() if images.is_floating_point() else images).cpu())
        except Exception as error:  # the runtimes' errors have no common class
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise ModelError(
                f"file {str(self.path)!r}: {self.runtime} cannot run inputs of shape {tuple(images.shape)} (batch, "
                f"channels, height, width): {reason}. Give inputs as {self.path.name}.json describes them, or export "
                "the model again."
            ) from error


def format_of_file(path: Path) -> tuple[Runtime, FileFormat]:
    """Return the runtime and the format of an exported file.

    Raises:
        ModelError: The suffix is none of a runtime's.
    """
    found = SCORED_SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise ModelError(
            f"file {str(path)!r}: expected an exported file with the suffix {', '.join(SCORED_SUFFIXES)}. Write one "
            "with dsft export MODEL --out FILE."
        )
    return found
