"""The entry point of `microgpt` and `python -m microgpt`.

Ctrl-C while the modules are imported ends it quietly too.
"""

from __future__ import annotations


def main() -> int:
    """Run the command line. Returns its exit code."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
