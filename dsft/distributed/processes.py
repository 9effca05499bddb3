"""The processes of a run, and the collective operations between them.

Small values that decide something (counts, metrics, signals) are exchanged on the CPU with gloo, which reports the end
of a process to the others at once. Gradients and weights are exchanged on their device, with NCCL on CUDA devices.
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

_JOIN_TIMEOUT = timedelta(minutes=10)
# Process 0 may convert, measure or write for a long time while the others wait. The end of a process closes its
# connections, which is noticed without a timeout.
_TIMEOUT = timedelta(days=1)
_LEAVE_SECONDS = 5.0
_BUCKET_BYTES = 32 * 2**20
_BACKENDS = re.compile("gloo|nccl", re.IGNORECASE)


class LostProcessError(TrainingError):
    """The connection to another process of the run failed."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, from the point of view of one of them.

    All processes must call its methods in the same order. In a single process each returns its own value: a no-op.

    Attributes:
        launch: The rank of this process and the address of the others.
    """

    launch: Launch = SINGLE

    @property
    def rank(self) -> int:
        """Rank of this process, counted from 0."""
        return self.launch.rank

    @property
    def count(self) -> int:
        """Number of processes (world size)."""
        return self.launch.count

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, the only one that writes files and shows progress."""
        return self.launch.rank == 0

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        self.gather_numbers([0])

    @contextlib.contextmanager
    def local_first(self) -> Iterator[None]:
        """Run the block in the first process of each machine before the others of that machine."""
        if self.launch.local_rank > 0:
            self.barrier()
        yield
        if self.launch.local_rank == 0:
            self.barrier()

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[T | None] = [None] * self.count
        with explained_exchange():
            distributed.all_gather_object(values, value)
        return cast("list[T]", values)

    def gather_numbers(self, numbers: Sequence[int]) -> list[list[int]]:
        """Return the integers of all processes, equally many from each."""
        if self.count == 1:
            return [list(numbers)]
        mine = torch.tensor(numbers, dtype=torch.int64)
        parts = [torch.empty_like(mine) for _ in range(self.count)]
        with explained_exchange():
            distributed.all_gather(parts, mine)
        return [part.tolist() for part in parts]

    def gather_rows(self, rows: Tensor | None) -> Tensor | None:
        """Return the rows of all processes, concatenated; None if no process has any.

        Args:
            rows: ``(rows, ...)`` on the CPU, any number from each process; None if this one has none.
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
        """Call a function in process 0 only, and return its result in all."""
        return self.broadcast(find() if self.is_first else cast("T", None))

    @torch.no_grad()
    def broadcast_module(self, module: nn.Module) -> None:
        """Replace the parameters and buffers of a network by those in process 0, in place."""
        self.broadcast_tensors([*module.parameters(), *module.buffers()])

    @torch.no_grad()
    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Replace the values of tensors by those in process 0, in place."""
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            with explained_exchange():
                flat = _flatten(bucket)
                # As bytes: gloo does not support every dtype.
                distributed.broadcast(flat.view(torch.uint8), src=0)
            _unflatten(flat, bucket)

    @torch.no_grad()
    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their sums over the processes, in place, with the same bits in all of them."""
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
    """Membership of this process in the process group of a run.

    Attributes:
        processes: The processes of the run.
        store: Key-value store that they share.
    """

    processes: Processes
    store: Store

    def claim_failure(self) -> bool:
        """Whether this process is to report the error of the run: true in the first one that asks."""
        try:
            return bool(self.store.add("failures", 1) == 1)
        except RuntimeError:
            # The process with the store has ended; if it was killed, it has reported nothing.
            return True

    def leave(self, *, failed: bool) -> None:
        """Leave the process group: together with the others, or after a failure at once, which the others notice."""
        launch = self.processes.launch
        if not failed:
            with contextlib.suppress(LostProcessError):
                self.processes.barrier()
        # NCCL would wait for processes that have ended; there the end of this process closes the connections.
        if not (failed and torch.cuda.is_available()):
            distributed.destroy_process_group()
        with contextlib.suppress(RuntimeError):
            self.store.add("left", 1)
            end = time.monotonic() + _LEAVE_SECONDS
            # The store ends with this process, and the others must still ask it who reports the error.
            while launch.hosts_store and launch.rank == 0 and time.monotonic() < end:
                if self.store.add("left", 0) >= launch.count:
                    break
                time.sleep(0.01)


def join_processes(launch: Launch) -> Membership:
    """Join the process group of a run.

    Raises:
        TrainingError: Some processes are missing after ten minutes, or cannot be reached.
    """
    place = f"{launch.address}:{launch.port}"
    try:
        store = _open_store(launch)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore("group", store),
            rank=launch.rank,
            world_size=launch.count,
            timeout=_TIMEOUT,
        )
    except RuntimeError as error:
        raise TrainingError(
            f"process {launch.rank} of {launch.count}: all processes must connect to {place} within "
            f"{_JOIN_TIMEOUT.seconds // 60} minutes. Check that all were started, that they reach that machine, and "
            f"that no other run uses the port (MASTER_PORT). torch says: {error}"
        ) from error
    return Membership(Processes(launch), store)


def _open_store(launch: Launch) -> Store:
    """Return the store of the run, as soon as every process has registered."""
    server = distributed.TCPStore(  # type: ignore[attr-defined]
        launch.address,
        launch.port,
        launch.count,
        launch.rank == 0 and launch.hosts_store,
        timeout=_JOIN_TIMEOUT,
        wait_for_workers=False,
    )
    store = PrefixStore(f"dsft/{launch.attempt}", server)
    store.set(f"joined/{launch.rank}", "")
    store.wait([f"joined/{rank}" for rank in range(launch.count)], _JOIN_TIMEOUT)
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
            "another process of this run has ended, through an error of its own or because it was killed, usually for "
            f"lack of memory. Continue from the last checkpoint with --resume. torch says: {reason}"
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether an error comes from the connection to other processes, which only its type or text shows."""
    return isinstance(error, distributed.DistError) or _BACKENDS.search(str(error)) is not None


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield tensors of the same dtype and device together, in groups large enough to send."""
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
    # In the order of the indices: the memory layout may differ between processes.
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))
