"""The module graph: which convolutions there are, what becomes of each, and the change itself.

Planning decides and changes nothing; ``apply_plan`` is the one function that changes a module tree.
"""

from dsft.surgery.apply import apply_plan
from dsft.surgery.convert import Conversion, convert
from dsft.surgery.cost_report import ConversionReport, report_costs
from dsft.surgery.inspection import InspectedLayer, Inspection, inspect_layers
from dsft.surgery.plan import ConversionPlan, LayerPlan
from dsft.surgery.planning import plan_conversion
from dsft.surgery.ready import copied, unwrapped
from dsft.surgery.request import Budget, MaxDrop, Request

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
