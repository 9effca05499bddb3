"""Pictures of results."""

from dsft.report.confusion import plot_confusion

__all__ = ["plot_confusion"]
