"""What `verify` can be given, and how one run of it goes: a Python file, an engine of ours, or a command.

A run happens in a fresh folder that holds program.py and the data as input.txt, in a cage. The same program runs
again in a varied environment, so that what depends on hash seed, time zone, locale or folder shows.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import engines, reference
from ..errors import ConfigError, DataError, InputError, quote, reason
from .recording import Recording, parse
from .rewrite import require_program, with_settings
from .sandbox import Limits, run

PROBE = Path(__file__).with_name("probe.py")
_ENGINE_PROGRAM = Path(__file__).with_name("engine_program.py")
VARIATIONS = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    {
        "PYTHONHASHSEED": "271828",
        "TZ": "Asia/Kolkata",
        "LC_ALL": "C",
        "MICROGPT_VERIFY": "second run",
    },
)


@dataclass(frozen=True)
class Settings:
    """One way to run: on which data, with which seed and number of steps (None: as the program says)."""

    data: bytes
    seed: int | None = None
    steps: int | None = None


@dataclass(frozen=True)
class Interest:
    """Which variables the probe looks for: by name, and by count of numbers. perturb: see gradients.py."""

    names: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    everything_at_end: bool = False
    perturb: dict[str, object] | None = None


@dataclass(frozen=True)
class Program:
    """A program to run. Either source (Python, can be watched) or command (anything, cannot)."""

    name: str
    source: str = ""
    command: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()  # folders a command reads
    python: str = sys.executable
    steps_name: str = ""
    limits: Limits = field(default_factory=Limits)

    def prepared(self, settings: Settings) -> str:
        """The source with that seed and number of steps; DataError where they cannot be set safely."""
        return with_settings(self.source, settings.steps, settings.seed, self.steps_name)

    def run(self, settings: Settings, variation: int, interest: Interest | None) -> Recording:
        """One run. interest None: watched by nobody, the plain program."""
        with tempfile.TemporaryDirectory(prefix="verify-" + "x" * variation) as outer:
            folder = Path(outer) / "work"
            folder.mkdir()
            (folder / "input.txt").write_bytes(settings.data)
            environment = {
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "HOME": str(folder),
                "TMPDIR": str(folder),
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                **VARIATIONS[variation % len(VARIATIONS)],
            }
            if self.command:
                words = self._command(folder, settings)
                return parse(run(words, folder, environment, self.limits, readable=self.readable))
            (folder / "program.py").write_text(
                self.prepared(settings), encoding="utf-8", newline=""
            )
            if interest is None:
                return parse(run([self.python, "program.py"], folder, environment, self.limits))
            reading, writing = os.pipe()
            told = json.dumps({"pipe": writing, **interest.__dict__})
            watched = [self.python, str(PROBE), told]
            return parse(run(watched, folder, environment, self.limits, (reading, writing)))

    def _command(self, folder: Path, settings: Settings) -> list[str]:
        values = {
            "{data}": str(folder / "input.txt"),
            "{steps}": settings.steps,
            "{seed}": settings.seed,
        }
        words = []
        for word in self.command:
            for hole, value in values.items():
                if hole in word and value is None:
                    raise ConfigError(
                        f"the command has {hole}, which was not given", where="option --cmd"
                    )
                word = word.replace(hole, str(value))
            words.append(word)
        for name, value in (("steps", settings.steps), ("seed", settings.seed)):
            if value is not None and not any(f"{{{name}}}" in word for word in self.command):
                raise ConfigError(
                    f"the number of {name} cannot be set in this command"
                    if name == "steps"
                    else "no seed can be set",
                    where="option --cmd",
                    fix=f"write {{{name}}} in the command where the number belongs",
                )
        return words


def python_program(
    path: str, python: str = sys.executable, steps_name: str = "", limits: Limits | None = None
) -> Program:
    """A .py file as a program. Raises InputError, and DataError for a text that is none."""
    try:
        source = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read the program: {reason(error)}", where=quote(path)) from error
    except UnicodeDecodeError as error:
        raise DataError(
            "the program is not UTF-8 text", where=f"{quote(path)}, byte {error.start}"
        ) from error
    if python == sys.executable:  # another one may know other syntax
        require_program(source, path)
    return Program(
        Path(path).name, source, python=python, steps_name=steps_name, limits=limits or Limits()
    )


def reference_program(python: str = sys.executable, limits: Limits | None = None) -> Program:
    """The definition: reference.py of this package."""
    assert reference.__file__
    return python_program(reference.__file__, python, limits=limits)


def engine_program(name: str, limits: Limits | None = None) -> Program:
    """An engine of ours behind the reference's loop. Raises ConfigError, MissingPartError for the name."""
    engines.engine_class(name)
    source = _ENGINE_PROGRAM.read_text(encoding="utf-8").replace(
        'ENGINE = "scalar"', f"ENGINE = {name!r}"
    )
    return Program(f"engine {name}", source, limits=limits or Limits())


def command_program(command: str, limits: Limits | None = None) -> Program:
    """A command line as a program: split like a shell does, run without one. Files it names are found from here."""
    words: Sequence[str] = shlex.split(command)
    found = shutil.which(words[0]) if words else None
    if not found:
        raise InputError(
            f"there is no command {quote(words[0] if words else command)}", where="option --cmd"
        )
    rest = [os.path.abspath(word) if os.path.exists(word) else word for word in words[1:]]
    folders = tuple(
        sorted(
            {
                os.path.dirname(word)
                for word in (os.path.realpath(found), *rest)
                if os.path.isabs(word)
            }
        )
    )
    whole = (os.path.abspath(found), *rest)
    return Program(f"command {command}", command=whole, readable=folders, limits=limits or Limits())


def program(
    what: str, python: str = sys.executable, steps_name: str = "", limits: Limits | None = None
) -> Program:
    """A program by its file name or its engine's name."""
    if what in engines.NAMES and not os.path.exists(what):
        return engine_program(what, limits)
    return python_program(what, python, steps_name, limits)
