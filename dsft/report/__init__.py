"""Plots of results, and HTML pages that combine them."""

from dsft.report.comparison import COMPARISON_FILE, write_comparison
from dsft.report.deployment import DEPLOYMENT_FILE
from dsft.report.evaluation import report_evaluation
from dsft.report.run import write_report

__all__ = ["COMPARISON_FILE", "DEPLOYMENT_FILE", "report_evaluation", "write_comparison", "write_report"]
