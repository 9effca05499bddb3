"""The conversion's contract over every architecture of timm and torchvision; see tests/contract.py for what it says.

Each architecture runs in a process of its own with a limit on its time and memory. Its result is appended to
``results/zoo.csv`` as it comes, and a later run goes on after those, the smallest network first. ``results/zoo.json``
counts them: it is written when a run ends, and by ``--report`` alone. Linux only.

    python tests/benchmarks/zoo.py [--structures pw_dw_pw low_rank] [--shard 1/4] [--minutes 10] [--again failed]
                                   [--seed 1] [--only 'timm/resnet*'] [--report]
"""

from __future__ import annotations

import argparse
import csv
import fcntl
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

import dsft
from dsft.choices import Structure
from dsft.conversion.discovery.sites import find_sites
from dsft.conversion.factorization import channel_spectrum, cp_decomposition
from dsft.conversion.request import SEPARABLE
from dsft.measure import count_macs
from tests.architectures import Architecture, all_architectures, build_smallest, count_without_memory, undrawn
from tests.contract import check_contract
from tests.zoo import redraw

RESULTS = Path(__file__).parent / "results"
TABLE = RESULTS / "zoo.csv"
SUMMARY = RESULTS / "zoo.json"
COLUMNS = (
    *("model", "structures", "dsft", "parameters", "outcome", "converted", "kept", "kept_reasons", "input"),
    *("layer_error", "model_error", "in_double", "seconds", "detail"),
)
LARGEST = 300_000_000
SECONDS = 1200
GIBIBYTES = 16


def main() -> None:
    """Run what is left of a shard, then say what has been counted."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # The rooms behind these names are imported here once, and not by each process anew.
    _ = dsft.save, dsft.load
    if not arguments.report:
        run_shard(arguments)
    results = sort_results()
    summary = {
        structures: summarise(result for result in results if result["structures"] == structures)
        for structures in sorted({result["structures"] for result in results})
    }
    SUMMARY.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(SUMMARY.read_text(encoding="utf-8"))  # noqa: T201


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--structures",
        type=Structure,
        nargs="+",
        default=SEPARABLE,
        help="what a convolution may become, the first that fits it",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the tensors; in some drawings a ReLU has no output")
    parser.add_argument("--shard", default="1/1", help="which part of the architectures, as i/n, from 1")
    parser.add_argument("--minutes", type=float, default=10.0, help="when no further architecture is begun")
    parser.add_argument("--again", default="", help="an outcome whose architectures are run once more")
    parser.add_argument("--only", default="*", help="a pattern of the architectures that are run")
    parser.add_argument("--report", action="store_true", help="run nothing, count what was run")
    return parser.parse_args()


def run_shard(arguments: argparse.Namespace) -> None:
    """Check the architectures of a shard that have no result yet, the smallest first."""
    index, shards = map(int, arguments.shard.split("/"))
    structures = " ".join(arguments.structures)
    results = {name: result for (name, of), result in read_results().items() if of == structures}
    deadline = time.monotonic() + 60 * arguments.minutes
    architectures = {str(architecture): architecture for architecture in all_architectures()}
    for name, architecture in architectures.items():
        if name not in results:
            size = count_without_memory(architecture)
            outcome = "too large" if size > LARGEST else "to run"
            results[name] = {"model": name, "structures": structures, "parameters": size, "outcome": outcome}
            append_result(results[name])
    todo = sorted(results.values(), key=lambda result: (int(result["parameters"]), result["model"]))
    for result in todo[index - 1 :: shards]:
        is_due = result["outcome"] in ("to run", arguments.again) and fnmatchcase(result["model"], arguments.only)
        if is_due and time.monotonic() < deadline:
            append_result(result | run_apart(architectures[result["model"]], arguments.structures, arguments.seed))


def run_apart(architecture: Architecture, structures: Sequence[Structure], seed: int) -> dict[str, Any]:
    """Check one architecture in a process of its own, so that it can take no more than its time and memory."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(architecture, structures, seed, sender))
    started = time.monotonic()
    process.start()
    sender.close()
    try:
        result = receiver.recv() if receiver.poll(SECONDS) else {"outcome": "timeout", "detail": f"over {SECONDS} s"}
    except EOFError:
        result = {"outcome": "failed", "detail": "the process died"}
    process.kill()
    process.join()
    return {"detail": "", "dsft": dsft.__version__, "seconds": round(time.monotonic() - started, 1), **result}


def send_result(architecture: Architecture, structures: Sequence[Structure], seed: int, sender: Any) -> None:
    """Check one architecture and send what came out, with the seconds of processor time that it took."""
    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES << 30, GIBIBYTES << 30))
    torch.manual_seed(0)
    started = time.process_time()
    try:
        model, example, side = build_smallest(architecture)
        redraw(model, seed)
        with tempfile.TemporaryDirectory() as folder, undrawn(), asked_once(), decomposed_roughly():
            checked = check_contract(
                model, example, lambda: architecture.build(side), Path(folder) / "model", structures
            )
        result = {
            **asdict(checked),
            "outcome": "passed" if checked.converted else "nothing to convert",
            "kept": sum(checked.kept.values()),
            "kept_reasons": "; ".join(f"{count} {reason}" for reason, count in sorted(checked.kept.items())),
            "input": "x".join(map(str, (example[0] if isinstance(example, list) else example).shape)),
            "layer_error": f"{checked.layer_error:.1e}",
            "model_error": f"{checked.model_error:.1e}",
        }
        sender.send(result | {"seconds": round(time.process_time() - started, 1)})
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        sender.send({"outcome": "failed", "detail": " ".join(detail.split())})


@contextmanager
def asked_once() -> Iterator[None]:
    """Keep what the plan of a second rank, and the weights for it, would compute once more from the same network."""
    answers: dict[Any, Any] = {}
    modules = [module for name, module in sys.modules.items() if name.startswith("dsft")]
    with ExitStack() as stack:
        for function in (find_sites, count_macs, channel_spectrum):
            for module in [module for module in modules if vars(module).get(function.__name__) is function]:
                stack.enter_context(patch.object(module, function.__name__, partial(_ask_once, function, answers)))
        yield


def decomposed_roughly() -> AbstractContextManager[Any]:
    """Give the CP decompositions of rank 1 few rounds, which take most of the time: no one looks at their errors.

    At full rank the factors are exact without a round.
    """
    return patch.object(cp_decomposition, "_affordable_rounds", lambda *_: 2)


def _ask_once(function: Callable[..., Any], answers: dict[Any, Any], *arguments: Any) -> Any:
    key = (function, *(argument if isinstance(argument, int | str) else id(argument) for argument in arguments))
    if key not in answers:
        # With the arguments, whose ids are those of others once they are gone.
        answers[key] = function(*arguments), arguments
    return answers[key][0]


def read_results() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the last result of each architecture with each set of structures."""
    if not TABLE.is_file():
        return {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {(result["model"], result["structures"]): dict(result) for result in csv.DictReader(file)}


def append_result(result: Mapping[str, Any]) -> None:
    """Add one result to the table, to which other shards may be writing."""
    is_new = not TABLE.is_file()
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(result)


def sort_results() -> list[dict[str, Any]]:
    """Write the table anew, the last result of each kind alone in the order of the names, and return it."""
    with TABLE.open("r+", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        results = [result for _, result in sorted(read_results().items())]
        file.truncate()
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(results)
    return results


def summarise(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Count architectures by outcome, and convolutions by what became of them."""
    results = list(results)
    within = [result for result in results if result["outcome"] != "too large"]
    run = [result for result in within if result["outcome"] != "to run"]
    checked = [result for result in run if result["outcome"] in ("passed", "nothing to convert")]
    kept: Counter[str] = Counter()
    for result in checked:
        for counted in filter(None, result["kept_reasons"].split("; ")):
            count, _, reason = counted.partition(" ")
            kept[reason] += int(count)
    return {
        "versions of dsft": sorted({result["dsft"] for result in run}),
        "architectures": {"listed": len(results), "up to 300 M parameters": len(within), "run": len(run)},
        "outcomes": dict(Counter(result["outcome"] for result in run)),
        "compared in float64": sum(result["in_double"] == "True" for result in checked),
        "greatest error of a layer": max((float(result["layer_error"]) for result in checked), default=0.0),
        "convolutions": {
            "converted": sum(int(result["converted"]) for result in checked),
            "kept": kept.total(),
            "kept by reason": dict(kept.most_common()),
        },
        "not passed": {result["model"]: result["detail"] for result in run if result not in checked},
    }


if __name__ == "__main__":
    main()
