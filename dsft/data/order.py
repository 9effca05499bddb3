"""The batch sampler: which images form a batch is a pure function of seed and epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from dsft.data.balance import balanced_positions
from dsft.data.labels import Target, single_classes
from dsft.data.seeding import stable_seed


@dataclass
class BatchOrder:
    """The batches of an epoch, as lists of triples (epoch, position, number of earlier occurrences of the position).

    With several processes, each one has its part of every training batch. In evaluation the processes take turns
    with batches of the size of such a part.
    """

    targets: Sequence[Target]
    batch_size: int
    seed: int
    shuffle: bool
    is_balanced: bool
    rank: int = 0
    processes: int = 1
    epoch: int = 0
    start: int = 0

    def __len__(self) -> int:
        # Batch normalisation cannot compute statistics of a training batch of one image.
        images = len(self.targets)
        is_alone = self.shuffle and images > self.batch_size > 1 and images % self.batch_size == 1
        return -(-images // self.batch_size) - is_alone

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        seen: Counter[int] = Counter()
        order = []
        for position in self._positions():
            order.append((self.epoch, position, seen[position]))
            seen[position] += 1
        size = self.batch_size
        if not self.shuffle:
            size = self.part_size
            batches = [order[at : at + size] for at in range(0, len(order), size)]
            return iter(batches[self.rank :: self.processes][self.start :])
        return (self._part(order[batch * size : (batch + 1) * size]) for batch in range(self.start, len(self)))

    def images_in(self, batch: int) -> int:
        """Return the number of images of a training batch in all processes."""
        return min(self.batch_size, len(self.targets) - batch * self.batch_size)

    @property
    def part_size(self) -> int:
        """Number of images of a full batch that one process has."""
        return max(self.batch_size // self.processes, 1)

    def _part(self, batch: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Return the part of a batch that this process has; that of a short batch may be empty.

        A part has at least two images, which batch normalisation needs for its statistics.
        """
        smallest = min(self.part_size, 2)
        parts = min(self.processes, max(len(batch) // smallest, 1))
        start, end = (-(-len(batch) * min(rank, parts) // parts) for rank in (self.rank, self.rank + 1))
        return batch[start:end]

    def _positions(self) -> Sequence[int]:
        if not self.shuffle:
            return range(len(self.targets))
        if self.is_balanced:
            return balanced_positions(single_classes(self.targets), self.seed, self.epoch)
        generator = torch.Generator().manual_seed(stable_seed("order", self.seed, self.epoch))
        positions: list[int] = torch.randperm(len(self.targets), generator=generator).tolist()
        return positions
