"""Translate recipe sections and model sources into data, networks and settings.

This is the only package that reads recipes to build something; the packages above it work with what is built here.
"""

from dsft.assembly.data import Loaders, load_batches, load_split, open_data, open_splits, split_data
from dsft.assembly.experiment import Experiment, RunData, RunNetworks, Verb, prepare_experiment
from dsft.assembly.model_folder import load_folder
from dsft.assembly.network import Network
from dsft.assembly.recipe_model import load_network
from dsft.assembly.source import Source, load_source, outline_source

__all__ = [
    "Experiment",
    "Loaders",
    "Network",
    "RunData",
    "RunNetworks",
    "Source",
    "Verb",
    "load_batches",
    "load_folder",
    "load_network",
    "load_source",
    "load_split",
    "open_data",
    "open_splits",
    "outline_source",
    "prepare_experiment",
    "split_data",
]
