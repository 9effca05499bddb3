"""The conversion's contract over every architecture of timm and torchvision; see tests/contract.py for what it says.

Each architecture runs in a process of its own with a limit on its time and memory. Results are appended as they come
and a later run goes on after them; ``--report`` writes the counts of what has been run so far. Linux only.

    python tests/benchmarks/zoo.py [--shard 1/4] [--minutes 10] [--again failed] [--report]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

import dsft
from tests.architectures import Architecture, all_architectures, build_smallest, count_without_memory, in_turn
from tests.contract import check_contract

RESULTS = Path(__file__).parent / "results"
SIZES = RESULTS / "zoo_sizes.json"
SUMMARY = RESULTS / "zoo.json"
LARGEST = 300_000_000
SECONDS = 240
GIBIBYTES = 16


def main() -> None:
    """Run what is left of a shard, then say what has been counted."""
    arguments = parse_arguments()
    RESULTS.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # The rooms behind these names are imported here once, and not by each process anew.
    _ = dsft.save, dsft.load
    if not arguments.report:
        index, shards = map(int, arguments.shard.split("/"))
        run_shard(index, shards, arguments.minutes, arguments.again)
    SUMMARY.write_text(json.dumps(summarise(read_results()), indent=1) + "\n", encoding="utf-8")
    print(SUMMARY.read_text(encoding="utf-8"))  # noqa: T201


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", default="1/1", help="which part of the architectures, as i/n, from 1")
    parser.add_argument("--minutes", type=float, default=10.0, help="when no further architecture is begun")
    parser.add_argument("--again", default="", help="an outcome whose architectures are run once more")
    parser.add_argument("--report", action="store_true", help="run nothing, count what was run")
    return parser.parse_args()


def run_shard(index: int, shards: int, minutes: float, again: str) -> None:
    """Check the architectures of a shard that have no result yet, the smallest of each family first."""
    sizes = read_sizes()
    done = {result["model"] for result in read_results() if result["outcome"] != again}
    todo = [one for one in in_turn(all_architectures(), sizes) if sizes[str(one)] <= LARGEST]
    deadline = time.monotonic() + 60 * minutes
    path = RESULTS / f"zoo_{index}_of_{shards}.jsonl"
    for architecture in todo[index - 1 :: shards]:
        if str(architecture) in done:
            continue
        if time.monotonic() > deadline:
            return
        result = {"model": str(architecture), "parameters": sizes[str(architecture)], **run_apart(architecture)}
        print(json.dumps(result), file=sys.stderr, flush=True)  # noqa: T201
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


def read_sizes() -> dict[str, int]:
    """Return the number of parameters of every architecture, counted once and kept."""
    architectures = all_architectures()
    sizes = json.loads(SIZES.read_text(encoding="utf-8")) if SIZES.is_file() else {}
    missing = [architecture for architecture in architectures if str(architecture) not in sizes]
    sizes |= {str(architecture): count_without_memory(architecture) for architecture in missing}
    if missing:
        SIZES.write_text(json.dumps(sizes, indent=0), encoding="utf-8")
    return sizes


def run_apart(architecture: Architecture) -> dict[str, Any]:
    """Check one architecture in a process of its own, so that it can take no more than its time and memory."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(architecture, sender))
    started = time.monotonic()
    process.start()
    sender.close()
    try:
        result = receiver.recv() if receiver.poll(SECONDS) else {"outcome": "timeout", "detail": f"over {SECONDS} s"}
    except EOFError:
        result = {"outcome": "failed", "detail": "the process died"}
    process.kill()
    process.join()
    return {**result, "seconds": round(time.monotonic() - started, 1)}


def send_result(architecture: Architecture, sender: Any) -> None:
    """Check one architecture and send what came out."""
    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES << 30, GIBIBYTES << 30))
    torch.manual_seed(0)
    try:
        model, example, side = build_smallest(architecture)
        with tempfile.TemporaryDirectory() as folder:
            checked = check_contract(model, example, lambda: architecture.build(side), Path(folder) / "model")
        outcome = "passed" if checked.converted else "nothing to convert"
        sender.send({"outcome": outcome, **vars(checked)})
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        sender.send({"outcome": "failed", "detail": detail})


def read_results() -> list[dict[str, Any]]:
    """Return the last result of each architecture, of all shards."""
    results: dict[str, dict[str, Any]] = {}
    for path in sorted(RESULTS.glob("zoo_*_of_*.jsonl"), key=lambda path: path.stat().st_mtime):
        for line in path.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            results[result["model"]] = result
    return list(results.values())


def summarise(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Count architectures by outcome, and convolutions by what became of them."""
    results = list(results)
    sizes = read_sizes()
    within = [name for name, size in sizes.items() if size <= LARGEST]
    kept: Counter[str] = Counter()
    for result in results:
        kept.update(result.get("kept", {}))
    failures = {one["model"]: one["detail"] for one in results if one["outcome"] in ("failed", "timeout")}
    return {
        "architectures": {"listed": len(sizes), "up to 300 M parameters": len(within), "run": len(results)},
        "outcomes": dict(Counter(result["outcome"] for result in results)),
        "families": dict(Counter(name.split("/")[0] for name in within)),
        "compared in float64": sum(bool(result.get("in_double")) for result in results),
        "greatest error of a layer": max((result.get("layer_error", 0.0) for result in results), default=0.0),
        "convolutions": {
            "converted": sum(result.get("converted", 0) for result in results),
            "kept": kept.total(),
            "kept by reason": dict(kept.most_common()),
        },
        "not passed": failures,
    }


if __name__ == "__main__":
    main()
