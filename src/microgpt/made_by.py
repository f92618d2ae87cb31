"""What trained a model: engine, instruction set, C library, versions, platform.

The bits of a model may depend on these, so `train --resume` and `verify` ask for them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import __version__
from .engines import Engine
from .errors import visible

THEN = ", then "  # between the values of an entry of a model that was trained with several
FACT_LIMIT = 200  # characters in an entry


class MadeBy(NamedTuple):
    """What trained a model. The model's last bits may depend on each of these.

    engine: its name. instruction_set: the one the engine used, "" if its bits depend on none.
    libm: the C library that computed exp, log and pow, "" if the system does not say.
    microgpt, python, platform: versions, and operating system with processor architecture.

    All are "" for a model from a file of format version 1, which did not record them.
    """

    engine: str = ""
    instruction_set: str = ""
    libm: str = ""
    microgpt: str = ""
    python: str = ""
    platform: str = ""

    @classmethod
    def here(cls, engine: Engine) -> MadeBy:
        """The entry for a model that this engine trains in this process."""
        import platform  # here, because it takes 10 ms and loading a model does not need it

        system = (
            " ".join(filter(None, platform.libc_ver())),
            __version__,
            f"{platform.python_implementation()} {platform.python_version()}",
            f"{platform.system()} {platform.machine()}",
        )
        return cls(
            engine.name,
            engine.instruction_set if engine.bound else "",
            *(visible(text)[:FACT_LIMIT] for text in system),
        )

    def after(self, earlier: MadeBy, bound: float) -> MadeBy:
        """This entry, for a model whose training began as `earlier` says.

        bound: that of the engine. Where two values differ and the bits may depend on them, both
        are named, in order: "avx512, then avx2". Perhaps no single run has the bits of such a
        model.
        """
        both = {}
        for name in depends_on(bound):
            before = (getattr(earlier, name) or "unknown") if earlier.engine else "unknown"
            here = getattr(self, name) or "unknown"
            if before.split(THEN)[-1] == here:
                both[name] = getattr(earlier, name) if earlier.engine else ""
                continue
            merged = f"{before}{THEN}{here}"
            if len(merged) > FACT_LIMIT:
                merged = f"several{THEN}{here}"[:FACT_LIMIT]
            both[name] = merged
        return self._replace(**both)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MadeBy:
        """The inverse of `_asdict`. Raises ValueError or TypeError on anything else."""
        self = cls(**values)
        if len(values) != len(cls._fields) or not all(map(is_fact, values.values())):
            raise ValueError(
                f"the entry made_by must hold six printable strings of at most {FACT_LIMIT} "
                f"characters"
            )
        return self


def is_fact(value: object) -> bool:
    """Whether an entry of `MadeBy` may have this value: a short string safe for terminals."""
    return isinstance(value, str) and len(value) <= FACT_LIMIT and value.isprintable()


def depends_on(bound: float) -> tuple[str, ...]:
    """The entries of `MadeBy` on which the bits of an engine with this bound may depend."""
    always = ("libm", "platform")
    return ("instruction_set", *always, "microgpt") if bound else always
