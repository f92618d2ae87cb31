"""The hyper-parameters: one frozen record, one sentence, default and range for each field.

Command-line flags, their help, the keyword arguments of `MicroGPT`, the checkpoint's header and all
range checks are made from the fields below. A default is what the reference does.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import ConfigError, quote
from .reference import shapes


def _option(
    default: float, low: float, high: float, says: str, *, open_low: bool = False, flag: str = ""
) -> Any:
    """A field with its sentence, its range [low, high] (or (low, high]) and its flag, if not its own name."""
    return field(
        default=default,
        metadata={"low": low, "high": high, "open_low": open_low, "says": says, "flag": flag},
    )


@dataclass(frozen=True)
class Config:
    """Everything a training run depends on, besides its documents."""

    n_layer: int = _option(1, 1, 256, "Layers, each an attention and a multi-layer perceptron.")
    n_embd: int = _option(16, 1, 65_536, "Width of the residual stream; a multiple of n_head.")
    n_head: int = _option(4, 1, 1024, "Attention heads in a layer.")
    block_size: int = _option(16, 1, 1_048_576, "Longest token sequence; what lies past it is cut.")
    num_steps: int = _option(1000, 1, 1_000_000_000, "Updates of the weights.", flag="--steps")
    batch_size: int = _option(1, 1, 1_048_576, "Documents whose mean loss makes one update.")
    learning_rate: float = _option(
        0.01,
        0.0,
        1e12,
        "Rate of the first update after the warm-up; it falls linearly to zero.",
        open_low=True,
    )
    beta1: float = _option(0.85, 0.0, 1 - 2**-53, "Adam's memory of the gradient.")
    beta2: float = _option(0.99, 0.0, 1 - 2**-53, "Adam's memory of the gradient's square.")
    eps_adam: float = _option(
        1e-8, 0.0, 1.0, "Adam's guard against division by zero.", open_low=True
    )
    weight_decay: float = _option(
        0.0, 0.0, 1e12, "AdamW's: each update takes this share of its rate off the weights."
    )
    input_dropout: float = _option(
        0.0, 0.0, 1 - 2**-32, "Share of the input characters that each update hides."
    )
    muon: float = _option(
        0.0, 0.0, 1 - 2**-53, "Momentum of Muon, which then updates the layers' matrices; 0: Adam."
    )
    warmup: int = _option(0, 0, 1_000_000_000, "Updates over which the rate rises before it falls.")
    init_std: float = _option(
        0.08, 0.0, 100.0, "Standard deviation of the initial weights.", open_low=True
    )
    seed: int = _option(
        42, 0, 2**64 - 1, "Fixes the order of documents, the initial weights and the coins."
    )
    windows: bool = _option(False, False, True, "Use longer documents whole, in pieces of a block.")
    val: float = _option(0.0, 0.0, 0.9, "Share of the documents held out of training.")

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, checked(item.name, getattr(self, item.name)))
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"n_embd must be a multiple of n_head, but {self.n_embd} is not a multiple of {self.n_head}",
                where="options n_embd and n_head",
                fix=f"n_embd {self.n_head * max(1, round(self.n_embd / self.n_head))} or n_head 1",
            )

        if self.warmup >= self.num_steps:
            raise ConfigError(
                f"warmup must end before the last step, but {self.warmup:,} is not less than {self.num_steps:,}",
                where="options warmup and num_steps",
                fix=f"warmup {self.num_steps // 5}",
            )

    @property
    def plain(self) -> bool:
        """Whether an update is the reference's: Adam for all weights, no decay, nothing hidden."""
        return not (self.muon or self.weight_decay or self.input_dropout)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    def shapes(self, vocab_size: int) -> dict[str, tuple[int, int]]:
        """Name -> (rows, columns) of every weight matrix, in the reference's order."""
        return shapes(vocab_size, self)

    def parameter_count(self, vocab_size: int) -> int:
        """Number of weights, without making the table of shapes."""
        return self.n_embd * (2 * vocab_size + self.block_size) + 12 * self.n_layer * self.n_embd**2

    def check_memory(self, vocab_size: int) -> None:
        """Refuse, before anything is allocated, a model that this machine's memory cannot hold.

        Counted: weights, gradients and Adam's two moments at 8 bytes; activations of one document at
        16 vectors of n_embd a position and layer, and the attention weights.
        """
        weights = 4 * 8 * self.parameter_count(vocab_size)
        heads = self.n_layer * self.n_head * self.block_size**2
        activations = 8 * (self.block_size * (16 * self.n_layer * self.n_embd + vocab_size) + heads)
        limit = physical_memory()
        if weights + activations > limit:
            raise ConfigError(
                f"training this model needs about {(weights + activations) / 1e9:,.1f} GB of memory; "
                f"this machine has {limit / 1e9:,.1f} GB",
                where=f"n_layer {self.n_layer}, n_embd {self.n_embd}, block_size {self.block_size}, "
                f"{vocab_size} tokens in the vocabulary",
                fix="lower n_embd, n_layer or block_size",
            )

    def to_dict(self) -> dict[str, int | float]:
        """Plain numbers, as they stand in a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Config:
        """The inverse of `to_dict`. A missing or an unknown name is a ConfigError."""
        names = {item.name for item in fields(cls)}
        for name in sorted(names ^ set(values)):
            problem = "lacks" if name in names else "has the unknown name"
            raise ConfigError(
                f"the configuration {problem} {quote(name)}",
                fix=f"it has {', '.join(sorted(names))}",
            )
        return cls(**values)  # type: ignore[arg-type]


# The options that are not hyper-parameters: whole numbers?, lowest, highest, lowest itself left out?
OPTIONS: dict[str, tuple[bool, float, float, bool]] = {
    "n": (True, 0, 2**31 - 1, False),
    "threads": (True, 0, 64, False),
    "samples": (True, 0, 1_000_000_000, False),
    "save_every": (True, 0, 1_000_000_000, False),
    "temperature": (
        False,
        1e-6,
        1e6,
        False,
    ),  # lower ones do what 1e-6 does, until their inverse overflows
    "top_k": (True, 0, 2**31 - 1, False),
    "top_p": (False, 0.0, 1.0, True),
    "min_len": (True, 0, 2**31 - 1, False),
    "max_len": (True, 0, 2**31 - 1, False),
    "holdout": (False, 0.0, 0.9, True),
    "head": (True, 0, 1023, False),
    "min": (False, -1e300, 1e300, False),
}


def checked(name: str, value: object) -> int | float:
    """`value` as the field or option wants it; a ConfigError names it, value and range."""
    if name in OPTIONS:
        return check_range(name, value, *OPTIONS[name])
    item = Config.__dataclass_fields__[name]
    if item.type == "bool":
        if not isinstance(value, bool):
            raise ConfigError(
                f"{name} must be True or False, not {quote(_shown(value))}", where=f"option {name}"
            )
        return value
    return check_range(
        name,
        value,
        item.type == "int",
        **{k: item.metadata[k] for k in ("low", "high", "open_low")},
    )


def check_range(
    name: str, value: object, whole: bool, low: float, high: float, open_low: bool = False
) -> int | float:
    """`value` as an int (if `whole`) or a float within [low, high], or (low, high] if `open_low`."""
    number: int | float | None = None
    if not isinstance(value, (bool, str, bytes)):
        with suppress(TypeError, ValueError, OverflowError):
            number = operator.index(value) if whole else float(value)  # type: ignore[arg-type]
    if (
        number is None or not low <= number <= high or (open_low and number == low)
    ):  # NaN is in no range
        kind = "a whole number" if whole else "a number"
        bounds = f"above {low:g} and at most {high:g}" if open_low else f"from {low:,} to {high:,}"
        raise ConfigError(
            f"{name} must be {kind} {bounds}, not {quote(_shown(value))}",
            where=f"option {name}",
            fix=f"{name} {Config.__dataclass_fields__[name].default}"
            if name in Config.__dataclass_fields__
            else "",
        )
    return number


def instruction_set(known: Sequence[str]) -> str:
    """The one of `known` that the environment variable MICROGPT_ISA asks for, "" without it. Raises ConfigError."""
    wanted = os.environ.get("MICROGPT_ISA", "")
    if wanted and wanted not in known:
        raise ConfigError(
            f"the instruction set {quote(wanted)} does not run here",
            where="environment variable MICROGPT_ISA",
            fix=f"one of {', '.join(known)}, or none",
        )
    return wanted


def _shown(value: object) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a very large number"


def physical_memory() -> int:
    """Bytes of RAM, or 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
