"""The kinds of input: everything that differs between images, signals and other examples before they are tensors.

:class:`InputType` is the interface. A new kind is a file in this package and one entry in the registry here, with its
word in :class:`dsft.choices.InputKind` and its evaluation transform in :mod:`dsft.preprocessing`.
"""

from collections.abc import Mapping

from dsft.choices import InputKind
from dsft.data.inputs.clips import ClipInput
from dsft.data.inputs.images import ImageInput
from dsft.data.inputs.input_type import InputType, Measures, Packed
from dsft.data.inputs.signals import SignalInput
from dsft.data.inputs.texts import TextInput

__all__ = ["INPUTS", "InputType", "Measures", "Packed"]

INPUTS: Mapping[InputKind, InputType] = {
    each.kind: each for each in (ImageInput(), SignalInput(), ClipInput(), TextInput())
}
