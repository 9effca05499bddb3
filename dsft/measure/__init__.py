"""The cost of a network: parameters, multiply-accumulates and memory."""

from dsft.measure.cost import count_macs, count_parameters
from dsft.measure.example import ExampleInput, batch_size_of, run_example, with_raw_outputs
from dsft.measure.memory import peak_memory

__all__ = [
    "ExampleInput",
    "batch_size_of",
    "count_macs",
    "count_parameters",
    "peak_memory",
    "run_example",
    "with_raw_outputs",
]
