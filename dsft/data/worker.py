"""What runs in the worker processes of a data loader: reading, transforming and collating images."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset

from dsft.data.boxes import Boxes
from dsft.data.joint_transforms import JointTransform
from dsft.data.labels import Target, stack_targets
from dsft.data.mixing import Mixing, mix_batch
from dsft.data.seeding import seeded, stable_seed
from dsft.data.splits import Split
from dsft.data.transforms import Transform
from dsft.errors import DataError
from dsft.process_memory import release_memory


class UnreadableImage(NamedTuple):
    """The key of an image that cannot be read, and the error message."""

    key: str
    message: str


class Sample(NamedTuple):
    """A transformed image with its target; ``draw`` is the triple of :class:`dsft.data.order.BatchOrder`."""

    image: Tensor
    target: Target | Tensor
    position: int
    draw: tuple[int, int, int]


class CollatedBatch(NamedTuple):
    """What a worker returns; torch pins the memory of tensors in a named tuple."""

    images: Tensor
    targets: Tensor
    positions: Tensor
    unreadable: list[UnreadableImage]


@dataclass(frozen=True)
class SampleReader(Dataset[Sample | UnreadableImage]):
    """Reads and augments an image; the augmentation depends on epoch, position and number of earlier occurrences."""

    split: Split
    transform: Transform | JointTransform
    seed: int

    def __getitem__(self, index: tuple[int, int, int]) -> Sample | UnreadableImage:
        epoch, position, repeat = index
        try:
            example, target = self.split.source.read(self.split.indices[position]), self.split.read_target(position)
            with seeded(stable_seed("augment", self.seed, epoch, position, repeat)):
                return self._transformed(example, target, index)
        except DataError as error:
            # An exception that leaves a worker process has its traceback as its message. Transforms do not know the
            # image's name.
            key, reason = self.split.keys[position], str(error)
            return UnreadableImage(key, reason if key in reason else f"{key!r}: {reason}")

    def _transformed(
        self, example: Any, target: Target | Image | NDArray[Any] | None, draw: tuple[int, int, int]
    ) -> Sample:
        position = draw[1]
        if isinstance(self.transform, JointTransform):
            picture, truth = self.transform(example, cast("Image | Boxes | None", target), self.split.keys[position])
            return Sample(picture, truth, position, draw)
        return Sample(self.transform(example), cast("Target", target), position, draw)


@dataclass(frozen=True)
class Collate:
    """Stacks and mixes samples in the worker, whose time is cheaper than that of the training process."""

    mixing: Mixing
    num_classes: int
    seed: int

    def __call__(self, samples: list[Sample | UnreadableImage]) -> CollatedBatch:
        """Return a batch of the readable images."""
        readable = [sample for sample in samples if isinstance(sample, Sample)]
        images = torch.stack([sample.image for sample in readable]) if readable else torch.empty(0)
        targets = stack_targets([sample.target for sample in readable], self.num_classes)
        if readable and self.mixing.is_on(readable[0].draw[0]):
            # A sample occurs in one batch of an epoch only, so the first one identifies the batch.
            seed = stable_seed("mix", self.seed, *readable[0].draw)
            images, targets = mix_batch(images, targets, self.mixing, num_classes=self.num_classes, seed=seed)
        positions = torch.tensor([sample.position for sample in readable], dtype=torch.int64)
        unreadable = [sample for sample in samples if isinstance(sample, UnreadableImage)]
        return CollatedBatch(images, targets, positions, unreadable)


def ignore_signals(worker: int) -> None:
    """Let a worker ignore Ctrl-C, SIGUSR1 and SIGTERM, which the whole process group receives.

    On a signal the training process finishes a step or a validation and saves a checkpoint, for which it needs its
    workers. A worker ends with that process, or on a SIGTERM from it. On systems that do not report the sender of a
    signal, such as macOS, any SIGTERM ends the worker, and the images that it is loading are lost.
    """
    del worker
    # Otherwise each worker would keep as much memory as it ever needed.
    release_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_on_signal_of_parent, daemon=True).start()
    else:
        # The training process notices a worker that exits when it waits for its images, a killed one anywhere.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _exit_on_signal_of_parent() -> None:
    # With the start method forkserver, os.getppid() is the server.
    parent = multiprocessing.parent_process()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != (parent.pid if parent is not None else os.getppid()):
        pass
    os._exit(0)
