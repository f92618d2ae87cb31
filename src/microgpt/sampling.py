"""Samples from a model: generate strings, filter them, stop when there are enough.

A filter rejects whole strings after the model has generated them. No character is ever forced, so
the samples have the distribution of the model's strings that pass the filter.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterator

from .config import check_range, checked
from .engines import Stop
from .errors import ConfigError, quote
from .gpt import GPT
from .randomness import Draws

TRIES = 200  # at most this many strings are generated for each one requested,
LEAST_TRIES = 2_000  # or this many in all, if that is more
LONGEST = 1_000  # characters of a sample from a model trained with windows: no block ends it


class Wanted:
    """Which strings to generate.

    temperature: at least 1e-6; below 1 the most probable tokens gain, above 1 the others.
    top_k, top_p: see `Engine.generate`. prefix: the beginning of every string.
    match: a regular expression that the whole string must match.
    min_len, max_len: in characters. novel: strings to leave out. unique: no duplicates.
    """

    def __init__(
        self,
        temperature: float = 0.5,
        top_k: int = 0,
        top_p: float = 1.0,
        prefix: str = "",
        match: str | None = None,
        min_len: int = 0,
        max_len: int | None = None,
        novel: Collection[str] = (),
        unique: bool = False,
    ) -> None:
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.prefix, self.match, self.min_len, self.max_len = prefix, match, min_len, max_len
        self.novel, self.unique = novel, unique
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
        """Whether a string passes every filter except `unique`.

        >>> Wanted(match="[ab]+", min_len=2).accepts("abba")
        True
        """
        return (
            len(text) >= self.min_len
            and (self.max_len is None or len(text) <= self.max_len)
            and (self.match is None or re.fullmatch(self.match, text) is not None)
            and text not in self.novel
        )


def sample(gpt: GPT, count: int, wanted: Wanted, draws: Draws, stop: Stop) -> Iterator[str]:
    """Yield up to `count` strings, each as soon as it is found.

    There are fewer if `stop` returns True, or if the model hardly ever generates such strings.
    Without filters these are the strings that the reference generates from the same random numbers.

    A model trained with windows continues past its block, piece by piece, as it does in scoring. It
    ends at the end token, or at LONGEST characters (or block_size or min_len, if that is larger).
    """
    checked("n", count)
    config, tokenizer = gpt.config, gpt.tokenizer
    prefix = tokenizer.ids(wanted.prefix)
    longest = (
        max(config.block_size, LONGEST, wanted.min_len) if config.windows else config.block_size
    )
    _check_fits(wanted, len(prefix), longest)
    if config.windows and wanted.max_len is not None:
        longest = min(longest, max(wanted.max_len, len(prefix)) + 1)  # longer ones are rejected
    source = _Source(gpt, [tokenizer.bos, *prefix], longest, wanted, draws, stop)
    seen: set[str] = set()
    tries = max(LEAST_TRIES, TRIES * count)
    batch = count
    while count and tries and not stop():
        generated = source.draw(min(batch, tries))
        tries -= len(generated)
        for tokens in generated:
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
            f"the prefix has {prefix:,} characters, and the model generates at most {longest:,}",
            where=f"option prefix {quote(wanted.prefix)}",
            fix=f"at most {longest - 1} characters",
        )
    if wanted.min_len > longest:
        raise ConfigError(
            f"min_len is {wanted.min_len:,}, "
            f"but the model generates at most {longest:,} characters, its block",
            where="option min_len",
            fix=f"min_len {longest} or less, or a model with a larger block_size",
        )


class _Source:
    """Generates documents as tokens, with coins from `draws`: each is used once, in order.

    Coins are uniform random numbers in [0, 1); an engine takes one for each token it generates.
    """

    def __init__(
        self, gpt: GPT, start: list[int], longest: int, wanted: Wanted, draws: Draws, stop: Stop
    ) -> None:
        """start: BOS and the prefix. longest: characters of a document, at most."""
        self.gpt, self.start, self.longest = gpt, start, longest
        self.wanted, self.draws, self.stop = wanted, draws, stop
        self.coins = array("d")

    def draw(self, count: int) -> list[list[int]]:
        """Up to `count` documents, without BOS: one at a time if they may exceed the block.

        An empty list when stopped.
        """
        block_size = self.gpt.config.block_size
        if self.longest <= block_size:
            most = 65_536 // (block_size + 1 - len(self.start))  # limits the coins held in memory
            return self._generate(min(count, max(1, most)), self.start)
        tokens = self.start[:]
        while len(tokens) <= self.longest:
            piece = (len(tokens) - 1) // block_size * block_size  # its start, as in corpus.windows
            documents = self._generate(1, tokens[piece:])
            if not documents:
                return []
            tokens[piece + 1 :] = documents[0]
            if len(documents[0]) < block_size:
                break
        return [tokens[1 : self.longest + 1]]

    def _generate(self, count: int, start: list[int]) -> list[list[int]]:
        missing = count * (self.gpt.config.block_size + 1 - len(start)) - len(self.coins)
        if missing > 0:
            self.coins.extend(self.draws.coins(missing))
        w = self.wanted
        generated = self.gpt.engine.generate(
            count, self.coins, start, w.temperature, w.top_k, w.top_p, self.stop
        )
        self.coins = self.coins[generated.coins_used :]
        return generated.documents
