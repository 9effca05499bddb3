"""``dsft env``."""

from __future__ import annotations

from dsft.cli.app import app
from dsft.cli.options import Json
from dsft.cli.session import reporting_errors


@app.command()
@reporting_errors
def env(as_json: Json = False) -> None:
    """Print versions, devices, threads and caches, as needed for a bug report."""
    from dsft.commands import env as command
    from dsft.console import environment_table, print_json, print_result

    found = command.run()
    if as_json:
        print_json(found)
    else:
        print_result(environment_table(found))
