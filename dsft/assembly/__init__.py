"""From words to things: recipe sections and model sources become data, networks and settings.

The only room that translates; what is above it works with what is built here.
"""

from dsft.assembly.data import Loaders, load_batches, load_split, open_data, open_splits, split_data
from dsft.assembly.experiment import Experiment, Verb, prepare_experiment
from dsft.assembly.network import Network, find_model_folder, load_folder, load_network
from dsft.assembly.source import Source, load_source, outline_source

__all__ = [
    "Experiment",
    "Loaders",
    "Network",
    "Source",
    "Verb",
    "find_model_folder",
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
