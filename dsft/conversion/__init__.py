"""The module graph: which convolutions there are, what becomes of each, and the change itself.

Planning decides and changes nothing; ``apply_plan`` is the one function that changes a module tree.
"""

from dsft.conversion.apply import apply_plan
from dsft.conversion.convert import Conversion, convert
from dsft.conversion.discovery.preconditions import copied, unwrapped
from dsft.conversion.inspect import InspectedLayer, Inspection, inspect_layers
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.conversion.planning.planner import plan_conversion
from dsft.conversion.report import ConversionReport, report_costs
from dsft.conversion.request import Budget, MaxDrop, Request

__all__ = [
    "Budget",
    "Conversion",
    "ConversionPlan",
    "ConversionReport",
    "InspectedLayer",
    "Inspection",
    "LayerPlan",
    "MaxDrop",
    "Request",
    "apply_plan",
    "convert",
    "copied",
    "inspect_layers",
    "plan_conversion",
    "report_costs",
    "unwrapped",
]
