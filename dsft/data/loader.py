"""Batches whose order and augmentation are pure functions of seed, epoch and position."""

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
from dsft.data.order import Order
from dsft.data.seeding import seeded, stable_seed
from dsft.data.splits import Split
from dsft.data.transforms import Transform
from dsft.devices import allowed_cores
from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import DataError, killed_reader
from dsft.process_memory import release_memory

UNMIXED = Mixing()
_MOST_WORKERS = 8
# A process is worth starting for this many images: decoding a file costs far more than slicing an array.
_IMAGES_PER_WORKER_ON_DISK = 64
_IMAGES_PER_WORKER_IN_MEMORY = 4096


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images of a split.

    Attributes:
        images: ``(batch, channels, height, width)``, float32.
        targets: Class of each image ``(batch,)``, int64; where it has any number of classes, or images are mixed, the
            share of each class ``(batch, classes)``, float32.
        positions: Position of each image in its split ``(batch,)``, int64.
        number: Its place among the batches of its epoch, counted from 0; one that nothing is left of counts too.
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
    """What a worker sends: torch pins and unpins a named tuple's tensors by itself."""

    images: Tensor
    targets: Tensor
    positions: Tensor
    unreadable: list[_Unreadable]


@dataclass(frozen=True)
class _Samples(Dataset[_Sample | _Unreadable]):
    """Reads image ``position`` as it looks in ``epoch`` when it comes for the ``repeat``-th time."""

    split: Split
    transform: Transform
    seed: int

    def __getitem__(self, index: tuple[int, int, int]) -> _Sample | _Unreadable:
        epoch, position, repeat = index
        try:
            image = self.split.source.read(self.split.indices[position])
        except DataError as error:
            # An exception would come out of a worker process with its traceback for a message.
            return _Unreadable(self.split.keys[position], str(error))
        with seeded(stable_seed("augment", self.seed, epoch, position, repeat)):
            return _Sample(self.transform(image), self.split.targets[position], position, index)


class BatchLoader:
    """The batches of a split; :func:`make_loader` makes one.

    Args:
        samples: Reads and transforms the images.
        order: The batches of each epoch.
        workers: Processes that read; 0 reads in this one.
        bad_images: What an unreadable image does.
        pin_memory: Put batches where a GPU can fetch them faster.
        mixing: How images of a batch are blended.
    """

    def __init__(
        self,
        samples: _Samples,
        order: Order,
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
        """Return the number of batches of an epoch in which every image can be read."""
        return len(self._order)

    @property
    def skipped(self) -> frozenset[str]:
        """Keys of the images found unreadable so far."""
        return frozenset(self._skipped)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch ``number``; only one epoch of a loader runs at a time.

        Images that cannot be read are left out of their batch; a batch (of several processes: this one's part of it)
        that becomes empty, or for training too small for batch statistics, is not yielded.

        Args:
            number: The epoch, counted from 0.
            start: The first batch, counted from 0: what comes before it is not read.

        Raises:
            DataError: An image cannot be read and the policy is ``error``, or none of the split can be.
            TrainingError: A process that reads images was killed.
        """
        self._current += 1
        current = self._current
        self._order.epoch, self._order.start = number, start
        smallest = 2 if self._order.shuffle and self._order.part_size > 1 and len(self.split) > 1 else 1
        yielded = 0
        for at, collated in enumerate(self._read(), start):
            if self._current != current:
                raise RuntimeError("another epoch of this loader has begun; one runs at a time")
            if collated.unreadable and self._bad_images is BadImages.ERROR:
                # Lets go of the workers now: the exception's traceback would keep them for the garbage
                # collector, which takes seconds to stop them.
                self._batches = self._open()
                raise DataError(collated.unreadable[0].message)
            self._skipped.update(image.key for image in collated.unreadable)
            if len(collated.targets) >= smallest:
                yielded += 1
                yield Batch(collated.images, collated.targets, collated.positions, at)
        # Others may have what this process has not.
        if not yielded and start == 0 and self._skipped and self._order.processes == 1:
            raise DataError(
                f"data: no batch of the {self.split.name} split is left: {len(self._skipped)} of "
                f"{len(self.split)} images cannot be read, such as {min(self._skipped)!r}."
            )

    def _read(self) -> Iterator[_Collated]:
        try:
            yield from self._batches
        except RuntimeError as error:
            if killed := killed_reader(error):
                raise killed from error
            raise

    def _open(self) -> DataLoader[_Sample | _Unreadable]:
        return DataLoader(
            self._samples,
            batch_sampler=self._order,
            num_workers=self.workers,
            collate_fn=self._collate,
            pin_memory=self._pin_memory,
            # Scoring comes once an epoch; its workers would stand idle beside those that train.
            persistent_workers=self.workers > 0 and self._order.shuffle,
            # Seeds the workers, which reseed themselves for every image; its own, so that the global
            # generator stays as it is.
            generator=torch.Generator(),
            worker_init_fn=_leave_signals_to_the_run,
        )


def _leave_signals_to_the_run(worker: int) -> None:
    """Let a worker outlive Ctrl-C, SIGUSR1 and SIGTERM, which its whole process group receives.

    A forked worker has the handlers of the process that trains, which finish a step or a validation and save; it has
    neither, and that process needs it to the end. It ends with it, or when it says so. Where nobody tells who sent a
    signal, as on macOS, SIGTERM ends it, and what is read at that moment is lost.
    """
    del worker
    # As many as there are would each keep the most that they ever needed.
    release_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_parent_says_so, daemon=True).start()
    else:
        # One that leaves by itself is missed where its images are, and not at any place.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _end_when_the_parent_says_so() -> None:
    # With the start method forkserver the process above is another one.
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
    mixing: Mixing = UNMIXED,
    sampler: Sampler = Sampler.UNIFORM,
    launch: Launch = SINGLE,
) -> BatchLoader:
    """Return a loader of a split, or of what one of several processes has of it.

    With ``shuffle``, each epoch has its own order, and a last batch of one image is dropped unless it is the
    only one. Without, every image comes, in the order of the split. Several processes have the same batches together
    as one has alone, every image in one of them; they blend images within their parts.

    Args:
        split: The images.
        transform: From an image to a tensor; the global random generators are seeded around it.
        batch_size: Images in a batch, of all processes together; the last may have fewer.
        workers: Processes that read images; ``auto`` is up to 8, by the number of cores and of images.
        seed: Of order and augmentation.
        shuffle: Training order.
        bad_images: What an unreadable image does.
        pin_memory: Put batches where a GPU can fetch them faster.
        mixing: How the images of a batch are blended; what is drawn for it hangs on seed, epoch and batch.
        sampler: Whether in training every image or every class comes equally often.
        launch: The place of this process among those that share the split.
    """
    count = _auto_workers(split, launch) if workers == "auto" else workers
    is_balanced = sampler is Sampler.BALANCED
    order = Order(split.targets, batch_size, seed, shuffle, is_balanced, launch.rank, launch.count)
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
    return min(_MOST_WORKERS, allowed_cores() // launch.local_count, worth)


@dataclass(frozen=True)
class _Collate:
    """Stacks and blends samples, where they were read: a worker's time is cheaper than that of the training step."""

    mixing: Mixing
    num_classes: int
    seed: int

    def __call__(self, samples: list[_Sample | _Unreadable]) -> _Collated:
        readable = [sample for sample in samples if isinstance(sample, _Sample)]
        images = torch.stack([sample.image for sample in readable]) if readable else torch.empty(0)
        targets = stack_targets([sample.target for sample in readable], self.num_classes)
        if readable and self.mixing.is_on(readable[0].draw[0]):
            # An image is drawn for one batch of an epoch only, so that the first one names its batch.
            seed = stable_seed("mix", self.seed, *readable[0].draw)
            images, targets = mix_batch(images, targets, self.mixing, num_classes=self.num_classes, seed=seed)
        positions = torch.tensor([sample.position for sample in readable], dtype=torch.int64)
        unreadable = [sample for sample in samples if isinstance(sample, _Unreadable)]
        return _Collated(images, targets, positions, unreadable)
