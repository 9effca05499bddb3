"""The recipe's sections: every key, its type, its default and what it does, a file for each.

The descriptions are the recipe reference: ``dsft recipes schema`` and the README are made from them.
"""

from dsft.recipe.sections.augment import AugmentSection
from dsft.recipe.sections.base import Section
from dsft.recipe.sections.convert import BudgetSection, CalibrationSection, ConvertSection
from dsft.recipe.sections.data import DataSection, HeldOutSection, ValSection
from dsft.recipe.sections.distill import DistillSection
from dsft.recipe.sections.evaluate import EvaluateSection
from dsft.recipe.sections.model import ModelSection
from dsft.recipe.sections.optim import EmaSection, FreezePhase, OptimSection, ScheduleSection
from dsft.recipe.sections.output import LogSection, OutputSection
from dsft.recipe.sections.recipe import Recipe
from dsft.recipe.sections.train import TrainSection

__all__ = [
    "AugmentSection",
    "BudgetSection",
    "CalibrationSection",
    "ConvertSection",
    "DataSection",
    "DistillSection",
    "EmaSection",
    "EvaluateSection",
    "FreezePhase",
    "HeldOutSection",
    "LogSection",
    "ModelSection",
    "OptimSection",
    "OutputSection",
    "Recipe",
    "ScheduleSection",
    "Section",
    "TrainSection",
    "ValSection",
]
