"""New strings from a model: draw, filter, stop when enough.

Filters reject whole strings after the model has drawn them, so what passes is distributed as the
model's strings that satisfy them: no letter is forced.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from .config import Config, check_range, checked
from .engines import Engine, Stop
from .errors import ConfigError, quote
from .randomness import Draws
from .tokenizer import Tokenizer

TRIES = 200  # strings drawn, at most, for each one asked for
LEAST_TRIES = 2_000  # and for all together at least


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
                f"match is not a regular expression: {error}", where=f"option match {quote(self.match)}"
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
    engine: Engine, tokenizer: Tokenizer, config: Config, count: int, wanted: Wanted, draws: Draws, stop: Stop
) -> Iterator[str]:
    """Up to `count` strings as they are found; fewer when the model hardly ever makes such a string.

    Without filters, the strings that the reference draws with the same coins.
    """
    checked("n", count)
    prefix = tokenizer.ids(wanted.prefix)
    longest = config.block_size - len(prefix)
    if longest < 1:
        raise ConfigError(
            f"the prefix has {len(prefix)} characters and fills the model's block of {config.block_size}",
            where=f"option prefix {quote(wanted.prefix)}",
            fix=f"at most {config.block_size - 1} characters",
        )
    if wanted.min_len > config.block_size:
        raise ConfigError(
            f"min_len is {wanted.min_len:,}, but the model makes at most {config.block_size:,} characters, its block",
            where="option min_len",
            fix=f"min_len {config.block_size} or less, or a model with a larger block_size",
        )
    seen: set[str] = set()
    tries = max(LEAST_TRIES, TRIES * count)
    ask = max(1, min(count, 65_536 // longest))  # strings a call: bounds the coins held ready
    coins = draws.coins(0)
    while count and tries and not stop():
        ask = min(ask, tries)
        if len(coins) < ask * longest:
            coins.extend(draws.coins(ask * longest - len(coins)))
        generated = engine.generate(ask, coins, prefix, wanted.temperature, wanted.top_k, wanted.top_p, stop)
        coins = coins[generated.coins_used :]
        tries -= len(generated.documents)
        for tokens in generated.documents:
            text = tokenizer.decode(tokens)
            if wanted.accepts(text) and not (wanted.unique and text in seen):
                seen.add(text)
                yield text
                count -= 1
                if not count:
                    return
