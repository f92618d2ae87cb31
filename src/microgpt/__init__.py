"""microgpt: a complete tiny GPT for lists of short strings.

The public names are those in `__all__`. Each one is imported when it is first used, so that
`import microgpt` is quick.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

__all__ = [
    "BusyError",
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataError",
    "DivergedError",
    "Evaluation",
    "Explanation",
    "InputError",
    "MicroGPT",
    "MicrogptError",
    "MissingPartError",
    "NotFittedError",
    "OutputError",
    "PermissionDeniedError",
    "Step",
    "StorageError",
    "recipe",
]

# For type checkers, which take this name as True. Importing typing would take milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Config
    from .errors import (
        BusyError,
        CheckpointError,
        ConfigError,
        DataError,
        DivergedError,
        InputError,
        MicrogptError,
        MissingPartError,
        NotFittedError,
        OutputError,
        PermissionDeniedError,
        StorageError,
    )
    from .explaining import Explanation
    from .model import MicroGPT
    from .recipes import recipe
    from .scoring import Evaluation
    from .training import Step

# Where the public names are defined. A module imports only those to its left.
_MODULES = ("errors", "config", "recipes", "scoring", "explaining", "training", "model")


def __getattr__(name: str) -> object:
    for module in _MODULES if name in __all__ else ():
        names = vars(import_module(f".{module}", __name__))
        if name in names:
            return names[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
