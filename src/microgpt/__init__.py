"""A complete tiny GPT for lists of short strings. Public names are loaded on first use."""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = False  # that of typing would import typing, which takes milliseconds
if TYPE_CHECKING:
    from .config import Config as Config
    from .errors import BusyError as BusyError
    from .errors import CheckpointError as CheckpointError
    from .errors import ConfigError as ConfigError
    from .errors import DataError as DataError
    from .errors import DivergedError as DivergedError
    from .errors import InputError as InputError
    from .errors import MicrogptError as MicrogptError
    from .errors import MissingPartError as MissingPartError
    from .errors import NotFittedError as NotFittedError
    from .errors import OutputError as OutputError
    from .errors import PermissionDeniedError as PermissionDeniedError
    from .errors import StorageError as StorageError
    from .explaining import Explanation as Explanation
    from .model import MicroGPT as MicroGPT
    from .recipes import recipe as recipe
    from .scoring import Evaluation as Evaluation
    from .training import Step as Step

_HOME = {
    "BusyError": "errors",
    "CheckpointError": "errors",
    "Config": "config",
    "ConfigError": "errors",
    "DataError": "errors",
    "DivergedError": "errors",
    "Evaluation": "scoring",
    "Explanation": "explaining",
    "InputError": "errors",
    "MicroGPT": "model",
    "MicrogptError": "errors",
    "MissingPartError": "errors",
    "NotFittedError": "errors",
    "OutputError": "errors",
    "PermissionDeniedError": "errors",
    "Step": "training",
    "StorageError": "errors",
    "recipe": "recipes",
}

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


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
