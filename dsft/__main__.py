"""``python -m dsft``, and the command ``dsft``."""

from __future__ import annotations

from dsft.cli import app
from dsft.process_memory import keep_memory


def main() -> None:
    """Run the command line."""
    keep_memory()
    app()


if __name__ == "__main__":
    main()
