"""The command line: parse, call one command, show its result.

A command is imported inside the function that needs it, so that ``--help`` loads no torch. Each module registers its
commands with the application, which lists them in an order of its own.
"""

from dsft.cli import (
    benchmark,
    convert,
    data,
    env,
    evaluate,
    experiments,
    export,
    inspect,
    lr_find,
    models,
    predict,
    recipes,
    sweep,
)
from dsft.cli.app import app

__all__ = [
    "app",
    "benchmark",
    "convert",
    "data",
    "env",
    "evaluate",
    "experiments",
    "export",
    "inspect",
    "lr_find",
    "models",
    "predict",
    "recipes",
    "sweep",
]
