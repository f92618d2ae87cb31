"""Finds an engine by its name. Modules are imported only when their engine is chosen.

Another package adds an engine by an entry point of the group "microgpt.engines", for example in its
pyproject.toml (see docs/extending.md):

    [project.entry-points."microgpt.engines"]
    numpy = "numpy_engine:NumpyEngine"
"""

from __future__ import annotations

import warnings
from array import array
from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import ConfigError, MissingPartError, quote
from .contract import Engine, State

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ..config import Config

GROUP = "microgpt.engines"
AUTO = "auto"
# In the order in which "auto" tries them. They are not entry points, because finding entry points
# takes longer than a training run.
BUILT_IN = {
    "exact": "microgpt.engines.exact:ExactEngine",
    "fast": "microgpt.engines.fast:FastEngine",
    "scalar": "microgpt.engines.scalar:ScalarEngine",
}


_METHODS = (
    *("supports", "about", "state", "steps"),
    *("gradients", "log_probabilities", "trace", "generate"),
)


def engine_names() -> list[str]:
    """The names of the built-in engines and of those of other packages, importable or not."""
    return [*BUILT_IN, *sorted(_entry_points().keys() - {AUTO, *BUILT_IN})]


def engine_class(name: str, config: Config | None = None) -> type[Engine]:
    """The engine of that name, or for "auto" the one that suits the configuration.

    "auto" is the exact engine, which computes the scalar engine's bits. It is the fast engine if
    the configuration needs updates that only the fast engine supports. It is the scalar engine,
    with a warning, if the compiled engines were not built.
    Raises ConfigError for an unknown name, MissingPartError for an engine that cannot be imported.
    """
    if name == AUTO:
        return _automatic(config)
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        try:
            built_in: type[Engine] = getattr(import_module(module), attribute)
        except ImportError as error:
            raise _missing(name, error) from error
        return built_in
    entry_points = _entry_points()
    if name not in entry_points:
        raise ConfigError(
            f"there is no engine {quote(name)}",
            where="option engine",
            fix=f"one of {', '.join([AUTO, *engine_names()])}",
        )
    try:
        other = entry_points[name].load()
        _require_engine(name, other)
    except (Exception, SystemExit) as error:  # another package's code may raise anything
        raise _missing(name, error) from error
    engine: type[Engine] = other
    return engine


def _require_engine(name: str, kind: object) -> None:
    """A TypeError unless this is a class that declares what the contract asks for.

    A model file records the engine's name, so it must be the one that finds the engine again.
    """
    if not isinstance(kind, type):
        raise TypeError(f"{kind!r} is not a class")
    missing = [method for method in _METHODS if not callable(getattr(kind, method, None))]
    if missing:
        raise TypeError(f"the class lacks {', '.join(missing)}")
    if getattr(kind, "name", None) != name:
        raise TypeError(f"its name must be {name!r}, as in the entry point")
    bound = getattr(kind, "bound", None)
    if not (isinstance(bound, float) and 0.0 <= bound < float("inf")):
        raise TypeError("its bound must be a finite float of at least 0.0")


def _automatic(config: Config | None) -> type[Engine]:
    for name in ("exact", "fast"):
        try:
            engine = engine_class(name)
        except MissingPartError:
            continue
        if config is None or engine.supports(config):
            return engine
    warnings.warn(
        "the compiled engine is not installed: using the scalar engine, which computes the same "
        "numbers but takes thousands of times longer",
        RuntimeWarning,
        stacklevel=3,
    )
    return engine_class("scalar")


def _missing(name: str, error: BaseException) -> MissingPartError:
    """Why an engine cannot be used, with the whole message of what its import raised."""
    from traceback import format_exception_only

    why = "".join(format_exception_only(error)).strip()
    if name in BUILT_IN:
        compiled = isinstance(error, ImportError) and "_native" in f"{error.name} {error}"
        fix = "install microgpt again where there is a C++ compiler, or " if compiled else ""
        fix += "use another engine, for example scalar"
    else:
        package = _entry_points()[name].value
        fix = f"repair or reinstall the package that provides {package}, or use another engine"
    return MissingPartError(
        f"the engine {quote(name)} cannot be imported: {why}", where="option engine", fix=fix
    )


def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # takes milliseconds that most runs do not need

    return {point.name: point for point in entry_points(group=GROUP)}


def available() -> dict[str, str]:
    """Engine name -> what it runs on here, or why it cannot be used."""
    status = {}
    for name in engine_names():
        try:
            status[name] = str(engine_class(name).about())
        except MissingPartError as error:
            status[name] = f"not installed: {error.what}"
        except (Exception, SystemExit) as error:  # of another package's code
            status[name] = f"not usable: {type(error).__name__}: {error}"
    return status


def guessed_engine(state: State) -> str:
    """The engine that made this state, guessed: "fast" if all numbers are float32, else "auto"."""
    numbers = (state.parameters, state.m, state.v)
    return (
        "fast" if state.step and all(array("d", array("f", xs)) == xs for xs in numbers) else AUTO
    )
