"""`microgpt journey`: what repeats in a program, what the editions weigh, publish one, be reminded."""

from __future__ import annotations

from argparse import Namespace

from ..errors import ConfigError
from . import Face


def journey(args: Namespace, face: Face) -> int:
    """One stage of the journey."""
    raise ConfigError(f"there is no stage {args.stage!r}", where="argument STAGE")
