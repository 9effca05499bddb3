"""Functions run in two processes at once, forked from a clean one that has torch loaded."""

from __future__ import annotations

import multiprocessing
import pickle
import socket
import traceback
from collections.abc import Callable
from typing import Any

from dsft.distributed.launch import Launch
from dsft.distributed.processes import Processes, join_processes

Work = Callable[[Processes], Any]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def run_together(work: Work, count: int = 2) -> list[Any]:
    """Return what a function returns in each of several processes; None for one that has ended in the middle.

    The function is pickled. The test's own process is not forked, since no gradient can be computed in a fork of one
    that has used all of autograd's threads.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dsft.training"])
    port = free_port()
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    started = [
        context.Process(target=_join, args=(work, Launch(rank, count, rank, count, "localhost", port), send))
        for rank, (_, send) in enumerate(pipes)
    ]
    for process in started:
        process.start()
    for _, send in pipes:
        send.close()
    outcomes = [_receive(pipe) for pipe, _ in pipes]
    for process in started:
        process.join()
    failures = [text for is_well, text in outcomes if not is_well]
    assert not failures, "\n".join(failures)
    return [value for _, value in outcomes]


def _receive(pipe: Any) -> tuple[bool, Any]:
    try:
        outcome: tuple[bool, Any] = pickle.loads(pipe.recv_bytes())  # noqa: S301 - our own
    except EOFError:
        return True, None
    return outcome


def _join(work: Work, launch: Launch, send: Any) -> None:
    try:
        member = join_processes(launch)
        value = work(member.processes)
        member.leave(failed=False)
        send.send_bytes(pickle.dumps((True, value)))
    except BaseException:
        send.send_bytes(pickle.dumps((False, traceback.format_exc())))
