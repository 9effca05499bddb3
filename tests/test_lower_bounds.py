"""The constraints with which ``make test-oldest`` installs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def test_every_dependency_is_pinned_to_a_lower_bound_that_it_allows() -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / ".ci" / "lower_bounds"], capture_output=True, text=True, check=True
    )
    pins = dict(line.split("==") for line in printed.stdout.splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    paired = [each for each in project["optional-dependencies"]["dev"] if each.startswith("torchaudio")]
    requirements = [Requirement(each) for each in project["dependencies"] + paired]
    assert pins.keys() == {each.name for each in requirements}
    for requirement in requirements:
        pin = pins[requirement.name]
        assert requirement.specifier.contains(pin)
        # Nothing older: one less in the last place that is not 0 is outside.
        head, last = re.fullmatch(r"(.*?)(\d+)(?:\.0)*", pin).groups()  # type: ignore[union-attr]
        assert not requirement.specifier.contains(f"{head}{int(last) - 1}.999")
