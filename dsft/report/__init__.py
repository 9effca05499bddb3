"""Pictures of results, and the page that puts them together."""

from dsft.report.evaluation import report_evaluation

__all__ = ["report_evaluation"]
