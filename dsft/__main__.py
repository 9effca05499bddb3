"""``python -m dsft``, and the command ``dsft``."""

from __future__ import annotations

from dsft.cli import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
