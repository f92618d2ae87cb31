"""New strings from a model: draw, filter, stop when enough.

Filters reject whole strings after the model has drawn them, so what passes is distributed as the
model's strings that satisfy them: no letter is forced.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from .config import Config, check_range, checked
from .engines import Engine, Stop
from .errors import ConfigError, quote
from .randomness import Draws
from .tokenizer import Tokenizer

TRIES = 200  # strings drawn, at most, for each one asked for
LEAST_TRIES = 2_000  # and for all together at least
LONGEST = (
    1_000  # characters of a string from a model trained with windows, which knows no block's end
)


@dataclass(frozen=True)
class Wanted:
    """What strings are wanted.

    temperature: from 1e-6 on; below 1 safer, above 1 wilder. top_k, top_p: see `Engine.generate`.
    prefix: how each begins. match: a regular expression the whole string must match.
    min_len, max_len: in characters. novel: strings that must not come. unique: none twice.
    """

    temperature: float = 0.5
    top_k: int = 0
    top_p: float = 1.0
    prefix: str = ""
    match: str | None = None
    min_len: int = 0
    max_len: int | None = None
    novel: Collection[str] = ()
    unique: bool = False

    def __post_init__(self) -> None:
        for name in ("temperature", "top_k", "top_p", "min_len"):
            checked(name, getattr(self, name))
        if self.max_len is not None:
            check_range("max_len", self.max_len, True, self.min_len, 2**31 - 1)
        try:
            re.compile(self.match or "")
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(
                f"match is not a regular expression: {error}",
                where=f"option match {quote(self.match)}",
            ) from None

    def accepts(self, text: str) -> bool:
        """Whether a string passes all filters but `unique`."""
        return (
            len(text) >= self.min_len
            and (self.max_len is None or len(text) <= self.max_len)
            and (self.match is None or re.fullmatch(self.match, text) is not None)
            and text not in self.novel
        )


def sample(
    engine: Engine,
    tokenizer: Tokenizer,
    config: Config,
    count: int,
    wanted: Wanted,
    draws: Draws,
    stop: Stop,
) -> Iterator[str]:
    """Up to `count` strings as they are found; fewer when the model hardly ever makes such a string.

    Without filters, the strings that the reference draws with the same coins. A model trained with windows goes on past
    its block, piece after piece, as it scores: to its end mark or to LONGEST characters, more where the block or
    min_len is more.
    """
    checked("n", count)
    prefix = tokenizer.ids(wanted.prefix)
    longest = (
        max(config.block_size, LONGEST, wanted.min_len) if config.windows else config.block_size
    )
    _check_fits(wanted, len(prefix), longest)
    if config.windows and wanted.max_len is not None:
        longest = min(longest, max(wanted.max_len, len(prefix)) + 1)  # what is longer is not wanted
    source = _Source(
        engine, config.block_size, [tokenizer.bos, *prefix], longest, wanted, draws, stop
    )
    seen: set[str] = set()
    tries = max(LEAST_TRIES, TRIES * count)
    ask = count
    while count and tries and not stop():
        drawn = source.draw(min(ask, tries))
        tries -= len(drawn)
        for tokens in drawn:
            text = tokenizer.decode(tokens)
            if wanted.accepts(text) and not (wanted.unique and text in seen):
                seen.add(text)
                yield text
                count -= 1
                if not count:
                    return


def _check_fits(wanted: Wanted, prefix: int, longest: int) -> None:
    if prefix >= longest:
        raise ConfigError(
            f"the prefix has {prefix:,} characters, and the model makes at most {longest:,}",
            where=f"option prefix {quote(wanted.prefix)}",
            fix=f"at most {longest - 1} characters",
        )
    if wanted.min_len > longest:
        raise ConfigError(
            f"min_len is {wanted.min_len:,}, but the model makes at most {longest:,} characters, its block",
            where="option min_len",
            fix=f"min_len {longest} or less, or a model with a larger block_size",
        )


@dataclass
class _Source:
    """Strings of tokens as the model draws them, with coins from `draws`, each used once and in order."""

    engine: Engine
    block_size: int
    start: list[int]  # BOS and the prefix
    longest: int  # characters
    wanted: Wanted
    draws: Draws
    stop: Stop
    coins: array[float] = field(default_factory=lambda: array("d"))

    def draw(self, count: int) -> list[list[int]]:
        """Up to `count` of them, without BOS; fewer when stopped, and one at a time where they outgrow a block."""
        if self.longest <= self.block_size:
            most = 65_536 // (self.block_size + 1 - len(self.start))  # bounds the coins held ready
            return self._generate(min(count, max(1, most)), self.start)
        tokens = self.start[:]
        while len(tokens) <= self.longest:
            piece = (
                (len(tokens) - 1) // self.block_size * self.block_size
            )  # where it begins: corpus.windows
            found = self._generate(1, tokens[piece:])
            if not found:
                return []
            tokens[piece + 1 :] = found[0]
            if len(found[0]) < self.block_size:
                break
        return [tokens[1 : self.longest + 1]]

    def _generate(self, count: int, start: list[int]) -> list[list[int]]:
        missing = count * (self.block_size + 1 - len(start)) - len(self.coins)
        if missing > 0:
            self.coins.extend(self.draws.coins(missing))
        w = self.wanted
        found = self.engine.generate(
            count, self.coins, start, w.temperature, w.top_k, w.top_p, self.stop
        )
        self.coins = self.coins[found.coins_used :]
        return found.documents
