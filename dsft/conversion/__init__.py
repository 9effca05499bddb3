"""The conversion of a network: which convolutions it has, what each becomes, and the change itself.

``convert`` does all of it. Its stages are ``plan_conversion``, which decides and changes nothing, ``factorize``, which
derives the new weights, ``apply_plan``, which replaces the layers, and ``reconstruct``, which fits them to data.
"""

from dsft.conversion.apply import apply_plan, replay_plan
from dsft.conversion.budget import Budget, MaxDrop
from dsft.conversion.calibration_set import CalibrationSet
from dsft.conversion.check import check_converted
from dsft.conversion.convert import Conversion, convert
from dsft.conversion.converter import Converted, Converter
from dsft.conversion.discovery.preconditions import copy_network, unwrap_network
from dsft.conversion.history import ConversionHistory
from dsft.conversion.inspect import InspectedLayer, Inspection, inspect_layers
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.conversion.planning.layer_latency import LayerLatency
from dsft.conversion.recover import recover
from dsft.conversion.report import ConversionReport, report_costs
from dsft.conversion.request import Request
from dsft.conversion.stages import factorize, plan_conversion, reconstruct

__all__ = [
    "Budget",
    "CalibrationSet",
    "Conversion",
    "ConversionHistory",
    "ConversionPlan",
    "ConversionReport",
    "Converted",
    "Converter",
    "InspectedLayer",
    "Inspection",
    "LayerLatency",
    "LayerPlan",
    "MaxDrop",
    "Request",
    "apply_plan",
    "check_converted",
    "convert",
    "copy_network",
    "factorize",
    "inspect_layers",
    "plan_conversion",
    "reconstruct",
    "recover",
    "replay_plan",
    "report_costs",
    "unwrap_network",
]
