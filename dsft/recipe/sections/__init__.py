"""The recipe's sections, one file each: every key with its type, default and description.

The recipe reference, ``dsft recipes schema`` and ``recipes/README.md``, is generated from the descriptions.
"""

from dsft.recipe.sections.augment import AugmentSection
from dsft.recipe.sections.base import Section
from dsft.recipe.sections.clip import ClipSection
from dsft.recipe.sections.convert import BudgetSection, CalibrationSection, ConvertSection, RecoverSection
from dsft.recipe.sections.data import DataSection, DegradeSection, GroupsSection, HeldOutSection, ValSection
from dsft.recipe.sections.distill import DistillSection
from dsft.recipe.sections.evaluate import EvaluateSection
from dsft.recipe.sections.loss import LossSection
from dsft.recipe.sections.model import ModelSection
from dsft.recipe.sections.optim import EmaSection, FreezePhase, OptimSection, ScheduleSection
from dsft.recipe.sections.output import LogSection, OutputSection
from dsft.recipe.sections.recipe import Recipe
from dsft.recipe.sections.signal import SignalSection, SpectrogramSection
from dsft.recipe.sections.text import TextSection
from dsft.recipe.sections.train import TrainSection

__all__ = [
    "AugmentSection",
    "BudgetSection",
    "CalibrationSection",
    "ClipSection",
    "ConvertSection",
    "DataSection",
    "DegradeSection",
    "DistillSection",
    "EmaSection",
    "EvaluateSection",
    "FreezePhase",
    "GroupsSection",
    "HeldOutSection",
    "LogSection",
    "LossSection",
    "ModelSection",
    "OptimSection",
    "OutputSection",
    "Recipe",
    "RecoverSection",
    "ScheduleSection",
    "Section",
    "SignalSection",
    "SpectrogramSection",
    "TextSection",
    "TrainSection",
    "ValSection",
]
