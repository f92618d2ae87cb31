"""What can be verified, and how one run of it goes: a Python file, an engine, or a command.

A run happens in the cage, in a fresh folder that holds the program as program.py and the data as
input.txt. Each of the two runs of a verification has its own surroundings, so that a program that
depends on hash seed, time zone, locale or folder differs from itself.
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
from difflib import get_close_matches
from pathlib import Path

from .. import engines, files, reference
from ..errors import ConfigError, InputError, quote
from .cases import Settings
from .recording import Recording, parse
from .rewrite import require_program, with_settings
from .sandbox import Limits, run

PROBE = Path(__file__).with_name("probe.py")
_ENGINE_PROGRAM = Path(__file__).with_name("engine_program.py")
_PACKAGE_FOLDER = str(Path(__file__).parents[2])  # what an engine's program imports microgpt from
# The environments of the first and the second run.
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
class Interest:
    """Which of a program's variables the probe reports."""

    names: tuple[str, ...]  # of variables
    lengths: tuple[int, ...] = ()  # and any variable that holds that many numbers
    everything_at_end: bool = False  # and at the end of the program every variable
    perturb: dict[str, object] | None = None  # see gradients.py


@dataclass(frozen=True)
class Program:
    """A program to run: either source (Python, can be watched) or command (anything, cannot)."""

    name: str
    source: str = ""
    command: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()  # folders that a command reads
    python: str = sys.executable
    python_path: str = ""  # a folder that the program imports from
    steps_name: str = ""  # its name for the number of steps, where it is not a usual one
    limits: Limits = field(default_factory=Limits)

    def prepared(self, settings: Settings) -> str:
        """The source with these settings. DataError where a number cannot be set safely."""
        return with_settings(self.source, settings.steps, settings.seed, self.steps_name)

    def run(self, settings: Settings, variation: int, interest: Interest | None) -> Recording:
        """Run it once. interest None: the plain program, without the probe."""
        with tempfile.TemporaryDirectory(prefix="verify-" + "x" * variation) as outer:
            folder = Path(outer) / "work"
            folder.mkdir()
            (folder / "input.txt").write_bytes(settings.data)
            environment = self._environment(folder, variation)
            if self.command:
                words = self._words(folder, settings)
                return parse(run(words, folder, environment, self.limits, readable=self.readable))
            source = self.prepared(settings)
            (folder / "program.py").write_text(source, encoding="utf-8", newline="")
            if interest is None:
                return parse(run([self.python, "program.py"], folder, environment, self.limits))
            reading, writing = os.pipe()
            probe_settings = json.dumps({"pipe": writing, **interest.__dict__})
            watched = [self.python, str(PROBE), probe_settings]
            return parse(run(watched, folder, environment, self.limits, (reading, writing)))

    def _environment(self, folder: Path, variation: int) -> dict[str, str]:
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **VARIATIONS[variation % len(VARIATIONS)],
        }
        return {**environment, **({"PYTHONPATH": self.python_path} if self.python_path else {})}

    def _words(self, folder: Path, settings: Settings) -> list[str]:
        """The command's words, with {data}, {steps} and {seed} filled in."""
        numbers = {"steps": settings.steps, "seed": settings.seed}
        for name, number in numbers.items():
            wanted = any(f"{{{name}}}" in word for word in self.command)
            if wanted and number is None:
                raise ConfigError(
                    f"the command has {{{name}}}, which was not given", where="option --cmd"
                )
            if number is not None and not wanted:
                what = "number of steps" if name == "steps" else "seed"
                raise ConfigError(
                    f"the {what} cannot be set in this command",
                    where="option --cmd",
                    fix=f"write {{{name}}} in the command where the number belongs",
                )
        words = list(self.command)
        for name, value in {"data": folder / "input.txt", **numbers}.items():
            words = [word.replace(f"{{{name}}}", str(value)) for word in words]
        return words


def python_program(
    path: str, python: str = sys.executable, steps_name: str = "", limits: Limits | None = None
) -> Program:
    """A .py file as a program.

    Raises InputError where it cannot be read, DataError where it is not a Python program.
    """
    source = files.read_text(path, "the program").replace("\r\n", "\n").replace("\r", "\n")
    if python == sys.executable:  # another Python may know other syntax
        require_program(source, path)
    return Program(
        Path(path).name, source, python=python, steps_name=steps_name, limits=limits or Limits()
    )


def reference_program(python: str = sys.executable, limits: Limits | None = None) -> Program:
    """The definition: reference.py of this package."""
    assert reference.__file__
    return python_program(reference.__file__, python, limits=limits)


def engine_program(name: str, limits: Limits | None = None) -> Program:
    """An engine of the package, driven by the reference's training loop.

    Raises ConfigError for a name that no engine has, MissingPartError where it is not installed.
    """
    engines.engine_class(name)
    source = _ENGINE_PROGRAM.read_text(encoding="utf-8")
    source = source.replace('ENGINE = "scalar"', f"ENGINE = {name!r}")
    return Program(f"engine {name}", source, python_path=_PACKAGE_FOLDER, limits=limits or Limits())


def command_program(command: str, limits: Limits | None = None) -> Program:
    """A command line as a program. It is split as a shell would split it, and run without a shell.

    Files that it names are found from the current folder. Raises InputError for an unknown command.
    """
    words: Sequence[str] = shlex.split(command)
    executable = shutil.which(words[0]) if words else None
    if not executable:
        raise InputError(
            f"there is no command {quote(words[0] if words else command)}", where="option --cmd"
        )
    rest = [os.path.abspath(word) if os.path.exists(word) else word for word in words[1:]]
    named = [word for word in (os.path.realpath(executable), *rest) if os.path.isabs(word)]
    return Program(
        f"command {command}",
        command=(os.path.abspath(executable), *rest),
        readable=tuple(sorted({os.path.dirname(word) for word in named})),
        limits=limits or Limits(),
    )


def program(
    what: str, python: str = sys.executable, steps_name: str = "", limits: Limits | None = None
) -> Program:
    """A program by its file name or its engine's name."""
    if not os.path.exists(what) and what in (engines.AUTO, *engines.engine_names()):
        return engine_program(what, limits)
    if what.isidentifier() and not os.path.exists(what):
        close = get_close_matches(what, engines.engine_names(), n=1)
        raise InputError(
            f"there is no file and no engine {quote(what)}",
            where="argument WHAT",
            fix=close[0] if close else f"a file, or one of {', '.join(engines.engine_names())}",
        )
    return python_program(what, python, steps_name, limits)
