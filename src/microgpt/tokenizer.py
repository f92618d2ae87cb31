"""Characters to token ids and back; one more id, BOS, marks both ends of a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import reference
from .errors import DataError, quote


class Tokenizer:
    """A fixed alphabet: token id = index of the character in code point order, BOS = the id after the last."""

    def __init__(self, alphabet: Iterable[str]) -> None:
        self.alphabet = tuple(alphabet)
        if any(len(c) != 1 for c in self.alphabet) or list(self.alphabet) != sorted(
            set(self.alphabet)
        ):
            raise DataError("an alphabet must be single characters, each once, in code point order")
        self._ids = {character: i for i, character in enumerate(self.alphabet)}

    @classmethod
    def from_documents(cls, documents: Sequence[str]) -> Tokenizer:
        """The alphabet of these documents."""
        return cls(reference.alphabet_of(documents))

    @property
    def bos(self) -> int:
        """Token id of the mark on both ends."""
        return len(self.alphabet)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, BOS included."""
        return len(self.alphabet) + 1

    def encode(self, document: str) -> list[int]:
        """[BOS, its characters' ids, BOS]. A character outside the alphabet is a DataError."""
        return [self.bos, *self.ids(document), self.bos]

    def window(self, document: str, start: int, length: int) -> list[int]:
        """encode(document)[start : start + length], looking at no more of the document than that."""
        end = start + length
        tokens = self.ids(document[max(start - 1, 0) : end - 1])
        before = [self.bos] if start == 0 else []
        return before + tokens + ([self.bos] if start <= len(document) + 1 < end else [])

    def ids(self, text: str) -> list[int]:
        """The characters' ids alone. A character outside the alphabet is a DataError."""
        ids = self._ids
        try:
            return [ids[character] for character in text]
        except KeyError:
            at = next(i for i, character in enumerate(text) if character not in ids)
            raise DataError(
                f"the character {quote(text[at])} (U+{ord(text[at]):04X}) is not in the model's alphabet",
                where=f"character {at + 1} of {quote(text)}",
                fix=f"the alphabet is {quote(''.join(self.alphabet))}",
            ) from None

    def knows(self, text: str) -> bool:
        """Whether every character is in the alphabet."""
        return all(character in self._ids for character in text)

    def decode(self, tokens: Iterable[int]) -> str:
        """The characters of these ids; BOS stands for nothing and leaves nothing."""
        return "".join(self.alphabet[token] for token in tokens if token != self.bos)

    def label(self, token: int) -> str:
        """One token for the eye: its character, or the end mark's sign."""
        return "·" if token == self.bos else self.alphabet[token]
