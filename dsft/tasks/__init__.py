"""What differs between tasks: how the output of a network is read."""

from dsft.tasks.classification import split_outputs

__all__ = ["split_outputs"]
