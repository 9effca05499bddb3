"""The command line: parse the arguments, call one command, show its result.

Commands are imported inside the functions that call them, so that ``--help`` does not import torch. Importing a module
of this package registers its commands with the application.
"""

from dsft.cli import (
    benchmark,
    convert,
    data,
    deploy,
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
    "deploy",
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
