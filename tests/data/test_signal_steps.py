from __future__ import annotations

from dsft.data.signal_steps import describe_signal_steps
from tests.data.test_signal_transforms import MEL, plain


def test_the_steps_say_what_the_transform_does() -> None:
    steps = describe_signal_steps(plain((4000,), rate=8000, spectrogram=MEL))
    names = [
        "decode",
        "resample",
        "mix_channels",
        "crop_or_pad",
        "power_spectrum",
        "mel_bands",
        "decibels",
        "normalize",
    ]
    assert [step["op"] for step in steps] == names
    assert [step["op"] for step in describe_signal_steps(plain())] == [names[0], names[2], names[3], names[7]]
    steps = describe_signal_steps(plain((8, 8, 8), spacing=(2.0, 1.0, 1.0), window_overlap=0.25))
    assert [step["op"] for step in steps] == [
        "decode",
        "resample_volume",
        "mix_channels",
        "pad",
        "windows",
        "normalize",
    ]
    assert (steps[0]["layout"], steps[4]["size"], steps[4]["overlap"]) == ("CDHW", [8, 8, 8], 0.25)
