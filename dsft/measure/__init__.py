"""What a network costs: parameters, multiply-accumulates, memory and time."""

from dsft.measure.cost import count_macs, count_parameters
from dsft.measure.example import batch_size_of, run_example
from dsft.measure.footprint import Footprint, measure_footprints
from dsft.measure.latency import MeasuredOn, compare_latency, compare_runs, measured_on
from dsft.measure.memory import peak_memory
from dsft.measure.runtimes import open_runs
from dsft.measure.table import LatencyTable

__all__ = [
    "Footprint",
    "LatencyTable",
    "MeasuredOn",
    "batch_size_of",
    "compare_latency",
    "compare_runs",
    "count_macs",
    "count_parameters",
    "measure_footprints",
    "measured_on",
    "open_runs",
    "peak_memory",
    "run_example",
]
