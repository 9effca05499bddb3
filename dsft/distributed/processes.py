"""The processes of a run, and what they tell each other.

What decides anything (counts, figures, signals) goes over the CPU with gloo, so that the end of a process is seen at
once by the others; gradients and weights go where they are, with NCCL on CUDA devices.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store

from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import TrainingError

T = TypeVar("T")

_JOINING = timedelta(minutes=10)
# Process 0 may convert, time or write for long while the others wait. Who dies closes its connections, and is missed
# without a limit.
_WAITING = timedelta(days=1)
_FAREWELL_S = 5.0
_BUCKET_BYTES = 32 * 2**20
_BACKENDS = re.compile("gloo|nccl", re.IGNORECASE)


class LostProcessError(TrainingError):
    """Another process of the run has ended before its time."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run as one of them sees them; every method is called by all of them in the same order.

    Alone, a process hears itself.

    Attributes:
        launch: The place of this one among them.
    """

    launch: Launch = SINGLE

    @property
    def rank(self) -> int:
        """The number of this process, counted from 0."""
        return self.launch.rank

    @property
    def count(self) -> int:
        """How many there are."""
        return self.launch.count

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, which alone writes and shows."""
        return self.launch.rank == 0

    def wait(self) -> None:
        """Wait until all are here."""
        self.gather_numbers([0])

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process of each machine go through the block before the others there."""
        if self.launch.local_rank > 0:
            self.wait()
        yield
        if self.launch.local_rank == 0:
            self.wait()

    def gather(self, value: T) -> list[T]:
        """Return the value of every process, in their order."""
        if self.count == 1:
            return [value]
        values: list[T | None] = [None] * self.count
        with explained_exchange():
            distributed.all_gather_object(values, value)
        return cast("list[T]", values)

    def gather_numbers(self, numbers: Sequence[int]) -> list[list[int]]:
        """Return the whole numbers of every process, as many from each."""
        if self.count == 1:
            return [list(numbers)]
        mine = torch.tensor(numbers, dtype=torch.int64)
        parts = [torch.empty_like(mine) for _ in range(self.count)]
        with explained_exchange():
            distributed.all_gather(parts, mine)
        return [part.tolist() for part in parts]

    def gather_rows(self, rows: Tensor | None) -> Tensor | None:
        """Return the rows of every process under each other; None where no process has any.

        Args:
            rows: ``(rows, ...)`` on the CPU, any number of them from each process; None where it has none.
        """
        if self.count == 1:
            return rows
        kinds = self.gather((len(rows), rows.shape[1:], rows.dtype) if rows is not None else None)
        found = [kind for kind in kinds if kind is not None]
        if not found:
            return None
        counts = [kind[0] if kind is not None else 0 for kind in kinds]
        padded = torch.zeros(max(counts), *found[0][1], dtype=found[0][2])
        if rows is not None:
            padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        with explained_exchange():
            distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def broadcast(self, value: T) -> T:
        """Return the value of process 0."""
        if self.count == 1:
            return value
        values = [value]
        with explained_exchange():
            distributed.broadcast_object_list(values, src=0)
        return values[0]

    def from_first(self, find: Callable[[], T]) -> T:
        """Return what process 0 finds; the others do not look."""
        return self.broadcast(find() if self.is_first else cast("T", None))

    @torch.no_grad()
    def broadcast_module(self, module: nn.Module) -> None:
        """Give a network the parameters and buffers that it has in process 0, in place."""
        self.broadcast_tensors([*module.parameters(), *module.buffers()])

    @torch.no_grad()
    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in process 0, in place."""
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            with explained_exchange():
                flat = _flatten(bucket)
                # As bytes: gloo does not send every type.
                distributed.broadcast(flat.view(torch.uint8), src=0)
            _unflatten(flat, bucket)

    @torch.no_grad()
    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their sums over the processes, in place; the same bits come out in all of them."""
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            with explained_exchange():
                flat = _flatten(bucket)
                distributed.all_reduce(flat)
            _unflatten(flat, bucket)


ALONE = Processes()


@dataclass(frozen=True)
class Membership:
    """A process that has joined the others.

    Attributes:
        processes: All of them.
        store: What they leave for each other.
    """

    processes: Processes
    store: Store

    def claim_failure(self) -> bool:
        """Say whether this process is the one to tell what went wrong: the first to ask."""
        try:
            return bool(self.store.add("failures", 1) == 1)
        except RuntimeError:
            # The store was with a process that is gone, and can have told nothing if it was killed.
            return True

    def leave(self, *, failed: bool) -> None:
        """Part from the others: together at the end, at once after a failure, which they then notice."""
        launch = self.processes.launch
        if not failed:
            with contextlib.suppress(LostProcessError):
                self.processes.wait()
        # NCCL would wait for those who no longer answer; there the end of the process parts them.
        if not (failed and torch.cuda.is_available()):
            distributed.destroy_process_group()
        with contextlib.suppress(RuntimeError):
            self.store.add("left", 1)
            end = time.monotonic() + _FAREWELL_S
            # The store goes with this process, and the others have still to ask it who tells of the failure.
            while launch.hosts_store and launch.rank == 0 and time.monotonic() < end:
                if self.store.add("left", 0) >= launch.count:
                    break
                time.sleep(0.01)


def join_processes(launch: Launch) -> Membership:
    """Join the other processes of a run.

    Raises:
        TrainingError: They are not all there after ten minutes, or cannot be reached.
    """
    place = f"{launch.address}:{launch.port}"
    try:
        store = _open_store(launch)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore("group", store),
            rank=launch.rank,
            world_size=launch.count,
            timeout=_WAITING,
        )
    except RuntimeError as error:
        raise TrainingError(
            f"process {launch.rank} of {launch.count}: all processes must meet at {place} within "
            f"{_JOINING.seconds // 60} minutes. Check that as many were started, that they reach that machine, and "
            f"that no other run uses the port (MASTER_PORT). torch says: {error}"
        ) from error
    return Membership(Processes(launch), store)


def _open_store(launch: Launch) -> Store:
    """Return the store of the run, once every process has signed in."""
    kept = distributed.TCPStore(  # type: ignore[attr-defined]
        launch.address,
        launch.port,
        launch.count,
        launch.rank == 0 and launch.hosts_store,
        timeout=_JOINING,
        wait_for_workers=False,
    )
    store = PrefixStore(f"dsft/{launch.attempt}", kept)
    store.set(f"joined/{launch.rank}", "")
    store.wait([f"joined/{rank}" for rank in range(launch.count)], _JOINING)
    return store


@contextlib.contextmanager
def explained_exchange() -> Iterator[None]:
    """Translate the error of a collective operation of torch.

    Raises:
        LostProcessError: The connection to another process failed.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise LostProcessError(
            "another process of this run has ended, by an error of its own or killed, most often for want of memory. "
            f"Go on with --resume from the last checkpoint. torch says: {reason}"
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether an error comes from the connection to the other processes, which only its type or its text tells."""
    return isinstance(error, distributed.DistError) or _BACKENDS.search(str(error)) is not None


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield tensors of one type and place together, until they are large enough to be sent."""
    open_buckets: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    for tensor in tensors:
        kind = tensor.dtype, tensor.device
        open_buckets.setdefault(kind, []).append(tensor)
        sizes[kind] = sizes.get(kind, 0) + tensor.nbytes
        if sizes[kind] >= _BUCKET_BYTES:
            yield open_buckets.pop(kind)
            del sizes[kind]
    yield from open_buckets.values()


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    # In the order of the indices: the memory layout may differ from process to process.
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))
