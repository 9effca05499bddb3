"""What a network costs: parameters, multiply-accumulates and memory."""

from dsft.measure.cost import count_macs, count_parameters
from dsft.measure.example import batch_size_of, run_example
from dsft.measure.memory import peak_memory

__all__ = ["batch_size_of", "count_macs", "count_parameters", "peak_memory", "run_example"]
