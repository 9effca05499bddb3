"""What a network costs: parameters, multiply-accumulates and time."""

from dsft.measure.cost import count_macs, count_parameters
from dsft.measure.example import batch_size_of, run_example
from dsft.measure.latency import MeasuredOn, compare_latency, measured_on

__all__ = [
    "MeasuredOn",
    "batch_size_of",
    "compare_latency",
    "count_macs",
    "count_parameters",
    "measured_on",
    "run_example",
]
