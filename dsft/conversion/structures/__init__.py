"""The structures that may replace a convolution.

A structure is one entry of ``STRUCTURES``: the candidates that planning compares, the factors that its layers start
from, and the layer itself.
"""

from collections.abc import Mapping

from dsft.choices import Structure
from dsft.conversion.structures.candidate import Candidate, CandidateOptions
from dsft.conversion.structures.low_rank import LOW_RANK
from dsft.conversion.structures.pw_dw_pw import PW_DW_PW
from dsft.conversion.structures.separable import DW_PW, PW_DW
from dsft.conversion.structures.spec import FactorRequest, StructureSpec

STRUCTURES: Mapping[Structure, StructureSpec] = {
    Structure.PW_DW_PW: PW_DW_PW,
    Structure.DW_PW: DW_PW,
    Structure.PW_DW: PW_DW,
    Structure.LOW_RANK: LOW_RANK,
}
"""The structures by name."""

__all__ = ["STRUCTURES", "Candidate", "CandidateOptions", "FactorRequest", "StructureSpec"]
