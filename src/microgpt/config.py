"""The hyper-parameters: name, default, range and description of each, in this file only.

The command line's options and their help, the keyword arguments of `MicroGPT`, the header of a
model file and every range check are made from the fields below. The defaults are those of the
reference.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, dataclass_transform

from .errors import ConfigError, plain, quote
from .reference import shapes

BlockSize = TypeVar("BlockSize")


class Field(NamedTuple):
    """A hyper-parameter: its default, its range, its description and its command-line flag.

    The range is [low, high], or (low, high] if `open_low`. Without `flag`, the flag is made from
    the name.
    """

    name: str
    default: int | float
    low: float
    high: float
    says: str
    open_low: bool
    flag: str


def _option(
    default: float, low: float, high: float, says: str, *, open_low: bool = False, flag: str = ""
) -> Any:
    """The field whose name is that of the class attribute to which this is assigned."""
    return Field("", default, low, high, says, open_low, flag)


class _Signature:
    """What help() and notebooks show for the constructor. Made only when they ask for it."""

    def __get__(self, instance: object, owner: type[KeywordArguments]) -> Any:
        from inspect import Parameter, Signature

        kind = Parameter.KEYWORD_ONLY
        return Signature(
            [Parameter(name, kind, default=value) for name, value in owner.defaults.items()]
        )


@dataclass_transform(kw_only_default=True)
class KeywordArguments:
    """A class of annotated attributes, which are the keyword arguments of its constructor.

    `@dataclass(kw_only=True)` would do the same. But dataclasses imports inspect, ast and tokenize,
    which takes almost as long as starting Python, and every command would wait for it.
    defaults: name -> default of every argument.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    __signature__ = _Signature()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name: vars(cls)[name] for name in cls.__annotations__ if name in vars(cls)}
        for name, value in own.items():
            if isinstance(value, Field):
                FIELDS[name] = value._replace(name=name)
                own[name] = value.default
                setattr(cls, name, value.default)
        cls.defaults = cls.defaults | own

    def __init__(self, **values: Any) -> None:
        for name in values.keys() - self.defaults.keys():
            raise TypeError(f"{type(self).__name__}() has no argument {name!r}")
        vars(self).update(self.defaults | values)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Called at the end of the constructor."""


FIELDS: dict[str, Field] = {}  # the hyper-parameters by name, from the class that follows


class HyperParameters(KeywordArguments, Generic[BlockSize]):
    """The fields that `Config` and `MicroGPT` share. It checks nothing.

    The type of `block_size` is a parameter, because `MicroGPT` also accepts "auto".
    """

    n_layer: int = _option(
        1, 1, 256, "Number of layers, each of attention and a multi-layer perceptron."
    )
    n_embd: int = _option(16, 1, 65_536, "Width of the residual stream; a multiple of n_head.")
    n_head: int = _option(4, 1, 1024, "Number of attention heads in each layer.")
    block_size: BlockSize = _option(
        16, 1, 1_048_576, "Number of positions the model sees; longer documents are cut."
    )
    num_steps: int = _option(
        1000, 1, 1_000_000_000, "Number of updates of the weights.", flag="--steps"
    )
    batch_size: int = _option(1, 1, 1_048_576, "Number of documents in each update.")
    learning_rate: float = _option(
        0.01,
        0.0,
        1e12,
        "Learning rate after the warm-up; from there it falls linearly to zero.",
        open_low=True,
    )
    beta1: float = _option(0.85, 0.0, 1 - 2**-53, "Adam's decay rate of the gradient's mean.")
    beta2: float = _option(
        0.99, 0.0, 1 - 2**-53, "Adam's decay rate of the squared gradient's mean."
    )
    eps_adam: float = _option(
        1e-8, 0.0, 1.0, "Adam's term that prevents a division by zero.", open_low=True
    )
    weight_decay: float = _option(
        0.0, 0.0, 1e12, "AdamW's weight decay, in units of the learning rate."
    )
    input_dropout: float = _option(
        0.0, 0.0, 1 - 2**-32, "Share of the input characters that each update hides."
    )
    muon: float = _option(
        0.0,
        0.0,
        1 - 2**-53,
        "Momentum of the optimizer Muon, used for the layers' matrices; 0 means Adam for all.",
    )
    warmup: int = _option(
        0, 0, 1_000_000_000, "Number of updates over which the learning rate rises."
    )
    init_std: float = _option(
        0.08, 0.0, 100.0, "Standard deviation of the initial weights.", open_low=True
    )
    seed: int = _option(
        42, 0, 2**64 - 1, "Seed of the document order, the initial weights and the samples."
    )
    windows: bool = _option(
        False, False, True, "Train on the whole of long documents, in pieces of block_size."
    )
    held_out: float = _option(
        0.0, 0.0, 0.9, "Share of the documents that is held out of the training set."
    )


class Config(HyperParameters[int]):
    """Everything a training run depends on besides its documents: validated, and immutable.

    A value outside its range is a ConfigError that names the field, the value and the range.

    >>> config = Config(n_layer=2, n_embd=32)
    >>> config.block_size, config.head_dim
    (16, 8)
    >>> Config(n_head=0)
    Traceback (most recent call last):
    microgpt.errors.ConfigError: n_head must be a whole number from 1 to 1,024, not 0
      where: option n_head
      fix: n_head 4
    """

    def __post_init__(self) -> None:
        vars(self).update({name: checked(name, value) for name, value in vars(self).items()})
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"n_embd must be a multiple of n_head, "
                f"but {self.n_embd} is not a multiple of {self.n_head}",
                where="options n_embd and n_head",
                fix=f"n_head {_closest_divisor(self.n_embd, self.n_head)} or "
                f"n_embd {self.n_head * max(1, round(self.n_embd / self.n_head))}",
            )
        if self.warmup >= self.num_steps:
            raise ConfigError(
                f"warmup must end before the last step, "
                f"but {self.warmup:,} is not less than {self.num_steps:,}",
                where="options warmup and num_steps",
                fix=f"warmup {self.num_steps // 5}",
            )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Config cannot be changed: {name} cannot be assigned")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Config cannot be changed: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).items()))

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @property
    def plain(self) -> bool:
        """Whether updates are the reference's: Adam for all weights, no decay, no hidden inputs."""
        return not (self.muon or self.weight_decay or self.input_dropout)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    def shapes(self, vocab_size: int) -> dict[str, tuple[int, int]]:
        """Name -> (rows, columns) of every weight matrix, in the reference's order."""
        return shapes(vocab_size, self)

    def parameter_count(self, vocab_size: int) -> int:
        """Number of weights, computed without the table of shapes.

        >>> Config().parameter_count(vocab_size=27)
        4192
        """
        return self.n_embd * (2 * vocab_size + self.block_size) + 12 * self.n_layer * self.n_embd**2

    def check_memory(self, vocab_size: int) -> None:
        """Raise a ConfigError for a model that this machine's memory cannot hold.

        Nothing is allocated before this check. The estimate counts weights, gradients and Adam's
        two moments at 8 bytes each; for one document 16 activation vectors of n_embd numbers for
        each position and layer; and the attention weights.
        """
        weights = 4 * 8 * self.parameter_count(vocab_size)
        heads = self.n_layer * self.n_head * self.block_size**2
        activations = 8 * (self.block_size * (16 * self.n_layer * self.n_embd + vocab_size) + heads)
        limit = physical_memory()
        if weights + activations > limit:
            raise ConfigError(
                f"training this model needs about {(weights + activations) / 1e9:,.1f} GB of "
                f"memory; this machine has {limit / 1e9:,.1f} GB",
                where=f"n_layer {self.n_layer}, n_embd {self.n_embd}, "
                f"block_size {self.block_size}, {vocab_size} tokens in the vocabulary",
                fix="lower n_embd, n_layer or block_size",
            )

    def to_dict(self) -> dict[str, int | float]:
        """Name -> value of every field, as in the header of a model file."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Config:
        """The inverse of `to_dict`. A missing or an unknown name is a ConfigError."""
        for name in sorted(set(FIELDS) ^ set(values)):
            problem = "lacks" if name in FIELDS else "has the unknown name"
            raise ConfigError(
                f"the configuration {problem} {quote(name)}",
                fix=f"it has {', '.join(sorted(FIELDS))}",
            )
        return cls(**values)  # type: ignore[arg-type]


def _closest_divisor(number: int, wanted: int) -> int:
    divisors = (d for d in range(1, number + 1) if number % d == 0)
    return min(divisors, key=lambda divisor: (abs(divisor - wanted), -divisor))


# Options that are not hyper-parameters.
# name -> (whole numbers only, lowest, highest, whether the lowest is excluded)
OPTIONS: dict[str, tuple[bool, float, float, bool]] = {
    "n": (True, 0, 2**31 - 1, False),
    "threads": (True, 0, 64, False),
    "samples": (True, 0, 1_000_000_000, False),
    "save_every": (True, 0, 1_000_000_000, False),
    # A lower temperature than 1e-6 gives the same samples, until its inverse overflows.
    "temperature": (False, 1e-6, 1e6, False),
    "top_k": (True, 0, 2**31 - 1, False),
    "top_p": (False, 0.0, 1.0, True),
    "min_len": (True, 0, 2**31 - 1, False),
    "max_len": (True, 0, 2**31 - 1, False),
    "min": (False, -1e300, 1e300, False),
}


def kind(name: str) -> type[int] | type[float] | type[bool]:
    """The type of a field's values: int, float or bool."""
    default = FIELDS[name].default
    return bool if isinstance(default, bool) else int if isinstance(default, int) else float


def checked(name: str, value: object) -> int | float:
    """The value of a field or option, converted to its type. Outside its range: a ConfigError."""
    if name in OPTIONS:
        return check_range(name, value, *OPTIONS[name])
    if kind(name) is bool:
        if not isinstance(value, bool):
            raise ConfigError(
                f"{name} must be True or False, not {_said(value)}", where=f"option {name}"
            )
        return value
    field = FIELDS[name]
    return check_range(name, value, kind(name) is int, field.low, field.high, field.open_low)


def check_range(
    name: str, value: object, whole: bool, low: float, high: float, open_low: bool = False
) -> int | float:
    """The value as an int (if `whole`) or a float in [low, high], or (low, high] if `open_low`.

    Raises ConfigError otherwise.
    """
    number: int | float | None = None
    if not isinstance(value, (bool, str, bytes)):
        with suppress(TypeError, ValueError, OverflowError):
            number = operator.index(value) if whole else float(value)  # type: ignore[arg-type]
    in_range = number is not None and low <= number <= high  # False for NaN
    if number is None or not in_range or (open_low and number == low):
        article = "a whole number" if whole else "a number"
        first, last = plain(low), plain(high)
        bounds = f"above {first} and at most {last}" if open_low else f"from {first} to {last}"
        raise ConfigError(
            f"{name} must be {article} {bounds}, not {_said(value)}",
            where=f"option {name}",
            fix=f"{name} {FIELDS[name].default}" if name in FIELDS else "",
        )
    return number


def instruction_set(available: Sequence[str]) -> str:
    """The instruction set that the environment variable MICROGPT_ISA names; "" if it is not set.

    Raises ConfigError if it is none of those available.
    """
    wanted = os.environ.get("MICROGPT_ISA", "")
    if wanted and wanted not in available:
        raise ConfigError(
            f"the instruction set {quote(wanted)} does not run here",
            where="environment variable MICROGPT_ISA",
            fix=f"one of {', '.join(available)}, or none",
        )
    return wanted


def standard_arithmetic() -> AbstractContextManager[object]:
    """A context in which Python computes with the standard floating-point mode, in this thread.

    Other libraries may change that mode when they are loaded: those built with -ffast-math make
    the processor treat subnormal numbers (below 2.2e-308) as zeros, and some change the rounding.
    The compiled module sets the standard mode until the end of the context. Without the compiled
    module, a changed mode is a ConfigError.

    >>> with standard_arithmetic():
    ...     sys.float_info.min / 2 > 0
    True
    """
    if _arithmetic_is_standard():
        return nullcontext()
    with suppress(ImportError):
        from . import _native

        with _native.StandardArithmetic():
            restored = _arithmetic_is_standard()
        if restored:
            return _native.StandardArithmetic()
    raise ConfigError(
        "another library has changed how this thread rounds floating-point numbers: "
        "the results would differ from the reference",
        where="floating-point mode of the processor, in this thread",
        fix="install the compiled engines, which are not affected, or work in a process that does "
        "not load that library (it was probably built with -ffast-math)",
    )


def _arithmetic_is_standard() -> bool:
    """Whether subnormal numbers exist, and ties are rounded to even numbers."""
    smallest, tie = sys.float_info.min, sys.float_info.epsilon / 2
    return smallest / 2 != 0.0 and 1.0 + tie == 1.0 == 1.0 - tie / 2


class TypedNumber(str):
    """A number as it was typed on a command line. Messages show it without quotation marks."""


def _said(value: object) -> str:
    """The value for a message: strings are quoted, numbers are not."""
    return quote(value) if type(value) is str else quote(_shown(value))[1:-1]


def _shown(value: object) -> str:
    try:
        return str(value) if isinstance(value, str) else repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a very large number"


def physical_memory() -> int:
    """Bytes of RAM, or 8 GiB if the operating system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
