"""`python -m microgpt`, and the entry of the command: Ctrl-C while the modules are being loaded is quiet too."""

from __future__ import annotations


def main() -> int:
    """Run the command line; returns its exit code."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
