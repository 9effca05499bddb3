"""The data loader: batches whose order and augmentation are pure functions of seed, epoch and position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dsft.choices import BadImages, InputKind, Sampler
from dsft.data.joint_transforms import JointTransform
from dsft.data.mixing import Mixing
from dsft.data.order import BatchOrder
from dsft.data.splits import Split
from dsft.data.transforms import Transform
from dsft.data.windows import Windows
from dsft.data.worker import Collate, CollatedBatch, Sample, SampleReader, UnreadableImage, ignore_signals
from dsft.devices import allowed_cores
from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import DataError, worker_killed
from dsft.number_format import plural

NO_MIXING = Mixing()
_MAX_WORKERS = 8
# Fewer images do not justify another process. Decoding a file costs far more than slicing an array.
_IMAGES_PER_WORKER_ON_DISK = 64
_IMAGES_PER_WORKER_IN_MEMORY = 4096


@dataclass(frozen=True)
class LoaderSettings:
    """How images are loaded.

    Attributes:
        batch_size: Images per batch, over all processes; the last batch may have fewer.
        workers: Number of worker processes; 0 loads the images in this process, ``auto`` is up to 8, depending on the
            number of cores and images.
        seed: Seed of order and augmentation.
        bad_images: Handling of unreadable images.
        pin_memory: Copy batches to pinned memory, from which transfers to a GPU are faster.
        windows: How a network runs on the images, which have sizes of their own; None if it takes them as they are.
    """

    batch_size: int
    workers: int | Literal["auto"] = "auto"
    seed: int = 0
    bad_images: BadImages = BadImages.ERROR
    pin_memory: bool = False
    windows: Windows | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of images of a split.

    Attributes:
        images: ``(batch, channels, height, width)``, float32; or inputs of another kind, or several views of each.
        targets: Class indices ``(batch,)``, int64; for multi-label data and mixed images soft targets
            ``(batch, classes)``, float32; masks ``(batch, height, width)``, int64; boxes ``(batch, boxes, 6)``,
            float32; or images.
        positions: Position of each image in its split ``(batch,)``, int64.
        number: Index of the batch in its epoch, counted from 0; batches that became empty are counted too.
    """

    images: Tensor
    targets: Tensor
    positions: Tensor
    number: int


class BatchLoader:
    """Iterates over the batches of a split; created by :func:`make_loader`.

    Args:
        samples: Reads and transforms the images.
        order: The batches of each epoch.
        settings: How the images are loaded.
        workers: Number of worker processes; 0 loads the images in this process.
        mixing: Mixup and CutMix.
    """

    def __init__(
        self,
        samples: SampleReader,
        order: BatchOrder,
        settings: LoaderSettings,
        *,
        workers: int,
        mixing: Mixing,
    ) -> None:
        self.split = samples.split
        self.workers = workers
        self.mixing = mixing
        self._samples = samples
        self._order = order
        self._settings = settings
        self._collate = Collate(mixing, len(samples.split.classes), samples.seed)
        self._skipped: dict[str, str] = {}
        self._current = 0
        self._batches = self._open()

    def __len__(self) -> int:
        """Return the number of batches of an epoch without unreadable images."""
        return len(self._order)

    def images_in(self, number: int) -> int | None:
        """Return the number of images of a training batch in all processes; None if unreadable ones are left out."""
        return None if self._settings.bad_images is BadImages.SKIP else self._order.images_in(number)

    @property
    def input_kind(self) -> InputKind:
        """What the examples are."""
        return self.split.input_kind

    @property
    def views(self) -> int:
        """Number of inputs that are made of each example; if it is above 1, they are the second axis of a batch."""
        views: int = getattr(self._samples.transform, "views", 1)
        return views

    @property
    def windows(self) -> Windows | None:
        """See :attr:`LoaderSettings.windows`."""
        return self._settings.windows

    @property
    def skipped(self) -> Mapping[str, str]:
        """Keys of the unreadable images found so far, with what is wrong with each."""
        return self._skipped

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
            if collated.unreadable and self._settings.bad_images is BadImages.ERROR:
                # Stop the workers now. The traceback of the exception would keep them alive until the garbage
                # collector runs, which takes seconds.
                self._batches = self._open()
                raise DataError(
                    f"{collated.unreadable[0].message} Or skip such {self.input_kind.plural} with data.bad_images=skip "
                    "(in dsft predict with --bad-inputs skip)."
                )
            self._skipped.update(collated.unreadable)
            if len(collated.targets) >= smallest:
                yielded += 1
                yield Batch(collated.images, collated.targets, collated.positions, at)
        # With several processes, the others may have readable images.
        if not yielded and start == 0 and self._skipped and self._order.processes == 1:
            raise DataError(
                f"data: the {self.split.name} split has no readable batch: {len(self._skipped):,} of "
                f"{plural(len(self.split), self.split.input_kind)} cannot be read, such as {min(self._skipped)!r}."
            )

    def _read(self) -> Iterator[CollatedBatch]:
        try:
            yield from self._batches
        except RuntimeError as error:
            if killed := worker_killed(error):
                raise killed from error
            raise

    def _open(self) -> DataLoader[Sample | UnreadableImage]:
        return DataLoader(
            self._samples,
            batch_sampler=self._order,
            num_workers=self.workers,
            collate_fn=self._collate,
            pin_memory=self._settings.pin_memory,
            # Workers for evaluation would be idle most of the time, beside those for training.
            persistent_workers=self.workers > 0 and self._order.shuffle,
            # Seeds the workers, which reseed for every image. A generator of its own leaves the global one
            # unchanged.
            generator=torch.Generator(),
            worker_init_fn=ignore_signals,
        )


def make_loader(
    split: Split,
    transform: Transform | JointTransform,
    settings: LoaderSettings,
    *,
    shuffle: bool,
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
        transform: Converts an image, or one and its ground truth, to tensors; the global random generators are
            seeded for each call.
        settings: How the images are loaded.
        shuffle: Shuffle the images, for training.
        mixing: Mixup and CutMix; the random numbers depend on seed, epoch and batch.
        sampler: Whether a training epoch contains every image or every class equally often.
        launch: Rank and number of the processes that share the split.
    """
    seed, is_balanced = settings.seed, sampler is Sampler.BALANCED
    order = BatchOrder(split.targets, settings.batch_size, seed, shuffle, is_balanced, launch.rank, launch.count)
    workers = _auto_workers(split, launch) if settings.workers == "auto" else settings.workers
    return BatchLoader(SampleReader(split, transform, seed), order, settings, workers=workers, mixing=mixing)


def _auto_workers(split: Split, launch: Launch) -> int:
    in_memory = split.source.in_memory
    images = len(split) // launch.count
    worth = images // (_IMAGES_PER_WORKER_IN_MEMORY if in_memory else _IMAGES_PER_WORKER_ON_DISK)
    return min(_MAX_WORKERS, allowed_cores() // launch.local_count, worth)
