"""What a network costs: parameters, multiply-accumulates, memory and time."""

from dsft.measure.cost import count_macs, count_parameters
from dsft.measure.example import batch_size_of, run_example
from dsft.measure.footprint import Footprint, measure_footprints
from dsft.measure.latency import MeasuredOn, compare_latency, measured_on
from dsft.measure.memory import peak_memory

__all__ = [
    "Footprint",
    "MeasuredOn",
    "batch_size_of",
    "compare_latency",
    "count_macs",
    "count_parameters",
    "measure_footprints",
    "measured_on",
    "peak_memory",
    "run_example",
]
