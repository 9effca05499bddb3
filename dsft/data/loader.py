"""The data loader: batches whose order and augmentation are pure functions of seed, epoch and position."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dsft.choices import BadImages, Sampler
from dsft.data.labels import Target, stack_targets
from dsft.data.mixing import Mixing, mix_batch
from dsft.data.order import BatchOrder
from dsft.data.seeding import seeded, stable_seed
from dsft.data.splits import Split
from dsft.data.transforms import Transform
from dsft.devices import allowed_cores
from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import DataError, worker_killed
from dsft.number_format import plural
from dsft.process_memory import release_memory

NO_MIXING = Mixing()
_MAX_WORKERS = 8
# Fewer images do not justify another process. Decoding a file costs far more than slicing an array.
_IMAGES_PER_WORKER_ON_DISK = 64
_IMAGES_PER_WORKER_IN_MEMORY = 4096


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of images of a split.

    Attributes:
        images: ``(batch, channels, height, width)``, float32.
        targets: Class indices ``(batch,)``, int64, or, for multi-label data and mixed images, soft targets
            ``(batch, classes)``, float32.
        positions: Position of each image in its split ``(batch,)``, int64.
        number: Index of the batch in its epoch, counted from 0; batches that became empty are counted too.
    """

    images: Tensor
    targets: Tensor
    positions: Tensor
    number: int


class _Unreadable(NamedTuple):
    key: str
    message: str


class _Sample(NamedTuple):
    image: Tensor
    target: Target
    position: int
    draw: tuple[int, int, int]


class _Collated(NamedTuple):
    """What a worker returns; torch pins the memory of tensors in a named tuple."""

    images: Tensor
    targets: Tensor
    positions: Tensor
    unreadable: list[_Unreadable]


@dataclass(frozen=True)
class _Samples(Dataset[_Sample | _Unreadable]):
    """Reads and augments an image; the augmentation depends on epoch, position and number of earlier occurrences."""

    split: Split
    transform: Transform
    seed: int

    def __getitem__(self, index: tuple[int, int, int]) -> _Sample | _Unreadable:
        epoch, position, repeat = index
        try:
            image = self.split.source.read(self.split.indices[position])
        except DataError as error:
            # An exception that leaves a worker process has its traceback as its message.
            return _Unreadable(self.split.keys[position], str(error))
        with seeded(stable_seed("augment", self.seed, epoch, position, repeat)):
            return _Sample(self.transform(image), self.split.targets[position], position, index)


class BatchLoader:
    """Iterates over the batches of a split; created by :func:`make_loader`.

    Args:
        samples: Reads and transforms the images.
        order: The batches of each epoch.
        workers: Number of worker processes; 0 loads the images in this process.
        bad_images: Handling of unreadable images.
        pin_memory: Copy batches to pinned memory, from which transfers to a GPU are faster.
        mixing: Mixup and CutMix.
    """

    def __init__(
        self,
        samples: _Samples,
        order: BatchOrder,
        *,
        workers: int,
        bad_images: BadImages,
        pin_memory: bool,
        mixing: Mixing,
    ) -> None:
        self.split = samples.split
        self.workers = workers
        self.mixing = mixing
        self._samples = samples
        self._order = order
        self._bad_images = bad_images
        self._pin_memory = pin_memory
        self._collate = _Collate(mixing, len(samples.split.classes), samples.seed)
        self._skipped: set[str] = set()
        self._current = 0
        self._batches = self._open()

    def __len__(self) -> int:
        """Return the number of batches of an epoch without unreadable images."""
        return len(self._order)

    def images_in(self, number: int) -> int | None:
        """Return the number of images of a training batch in all processes; None if unreadable ones are left out."""
        return None if self._bad_images is BadImages.SKIP else self._order.images_in(number)

    @property
    def skipped(self) -> frozenset[str]:
        """Keys of the unreadable images found so far."""
        return frozenset(self._skipped)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch; only one epoch of a loader can be iterated at a time.

        Unreadable images are left out of their batch. A batch (with several processes: the part of this one) that
        becomes empty, or too small for batch statistics in training, is not yielded.

        Args:
            number: The epoch, counted from 0.
            start: Index of the first batch, counted from 0; earlier batches are not loaded.

        Raises:
            DataError: An image cannot be read and the policy is ``error``, or no image of the split can be read.
            TrainingError: A worker process was killed.
        """
        self._current += 1
        current = self._current
        self._order.epoch, self._order.start = number, start
        smallest = 2 if self._order.shuffle and self._order.part_size > 1 and len(self.split) > 1 else 1
        yielded = 0
        for at, collated in enumerate(self._read(), start):
            if self._current != current:
                raise RuntimeError("another epoch of this loader has started; only one can be iterated at a time")
            if collated.unreadable and self._bad_images is BadImages.ERROR:
                # Stop the workers now. The traceback of the exception would keep them alive until the garbage
                # collector runs, which takes seconds.
                self._batches = self._open()
                raise DataError(collated.unreadable[0].message)
            self._skipped.update(image.key for image in collated.unreadable)
            if len(collated.targets) >= smallest:
                yielded += 1
                yield Batch(collated.images, collated.targets, collated.positions, at)
        # With several processes, the others may have readable images.
        if not yielded and start == 0 and self._skipped and self._order.processes == 1:
            raise DataError(
                f"data: the {self.split.name} split has no readable batch: {len(self._skipped):,} of "
                f"{plural(len(self.split), 'image')} cannot be read, such as {min(self._skipped)!r}."
            )

    def _read(self) -> Iterator[_Collated]:
        try:
            yield from self._batches
        except RuntimeError as error:
            if killed := worker_killed(error):
                raise killed from error
            raise

    def _open(self) -> DataLoader[_Sample | _Unreadable]:
        return DataLoader(
            self._samples,
            batch_sampler=self._order,
            num_workers=self.workers,
            collate_fn=self._collate,
            pin_memory=self._pin_memory,
            # Workers for evaluation would be idle most of the time, beside those for training.
            persistent_workers=self.workers > 0 and self._order.shuffle,
            # Seeds the workers, which reseed for every image. A generator of its own leaves the global one
            # unchanged.
            generator=torch.Generator(),
            worker_init_fn=_ignore_signals,
        )


def _ignore_signals(worker: int) -> None:
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


def make_loader(
    split: Split,
    transform: Transform,
    *,
    batch_size: int,
    workers: int | Literal["auto"],
    seed: int,
    shuffle: bool,
    bad_images: BadImages,
    pin_memory: bool,
    mixing: Mixing = NO_MIXING,
    sampler: Sampler = Sampler.UNIFORM,
    launch: Launch = SINGLE,
) -> BatchLoader:
    """Return a loader of a split, or of the part of it that one of several processes has.

    With ``shuffle``, each epoch has its own order, and a last batch of one image is dropped unless it is the only
    batch. Without, all images are yielded in the order of the split. The batches of several processes together are
    those of a single process, each image in exactly one of them; mixup and CutMix are applied within the parts.

    Args:
        split: The images.
        transform: Converts an image to a tensor; the global random generators are seeded for each call.
        batch_size: Images per batch, over all processes; the last batch may have fewer.
        workers: Number of worker processes; ``auto`` is up to 8, depending on the number of cores and images.
        seed: Seed of order and augmentation.
        shuffle: Shuffle the images, for training.
        bad_images: Handling of unreadable images.
        pin_memory: Copy batches to pinned memory, from which transfers to a GPU are faster.
        mixing: Mixup and CutMix; the random numbers depend on seed, epoch and batch.
        sampler: Whether a training epoch contains every image or every class equally often.
        launch: Rank and number of the processes that share the split.
    """
    count = _auto_workers(split, launch) if workers == "auto" else workers
    is_balanced = sampler is Sampler.BALANCED
    order = BatchOrder(split.targets, batch_size, seed, shuffle, is_balanced, launch.rank, launch.count)
    return BatchLoader(
        _Samples(split, transform, seed),
        order,
        workers=count,
        bad_images=bad_images,
        pin_memory=pin_memory,
        mixing=mixing,
    )


def _auto_workers(split: Split, launch: Launch) -> int:
    in_memory = split.source.in_memory
    images = len(split) // launch.count
    worth = images // (_IMAGES_PER_WORKER_IN_MEMORY if in_memory else _IMAGES_PER_WORKER_ON_DISK)
    return min(_MAX_WORKERS, allowed_cores() // launch.local_count, worth)


@dataclass(frozen=True)
class _Collate:
    """Stacks and mixes samples in the worker, whose time is cheaper than that of the training process."""

    mixing: Mixing
    num_classes: int
    seed: int

    def __call__(self, samples: list[_Sample | _Unreadable]) -> _Collated:
        readable = [sample for sample in samples if isinstance(sample, _Sample)]
        images = torch.stack([sample.image for sample in readable]) if readable else torch.empty(0)
        targets = stack_targets([sample.target for sample in readable], self.num_classes)
        if readable and self.mixing.is_on(readable[0].draw[0]):
            # A sample occurs in one batch of an epoch only, so the first one identifies the batch.
            seed = stable_seed("mix", self.seed, *readable[0].draw)
            images, targets = mix_batch(images, targets, self.mixing, num_classes=self.num_classes, seed=seed)
        positions = torch.tensor([sample.position for sample in readable], dtype=torch.int64)
        unreadable = [sample for sample in samples if isinstance(sample, _Unreadable)]
        return _Collated(images, targets, positions, unreadable)
