"""From characters to token ids and back. One more id, BOS, marks both ends of a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import reference
from .errors import DataError, quote


class Tokenizer:
    """A fixed alphabet of characters.

    A character's token id is its index in code point order. BOS is the id after the last one.

    >>> tokenizer = Tokenizer("abn")
    >>> tokenizer.encode("anna")
    [3, 0, 2, 2, 0, 3]
    >>> tokenizer.decode([3, 0, 2, 2, 0, 3])
    'anna'
    """

    def __init__(self, alphabet: Iterable[str]) -> None:
        self.alphabet = tuple(alphabet)
        in_order = list(self.alphabet) == sorted(set(self.alphabet))
        if not in_order or any(len(character) != 1 for character in self.alphabet):
            raise DataError(
                "an alphabet must hold single characters, without duplicates, in code point order"
            )
        self._ids = {character: i for i, character in enumerate(self.alphabet)}

    @classmethod
    def from_documents(cls, documents: Sequence[str]) -> Tokenizer:
        """A tokenizer for all characters of these documents."""
        return cls(reference.alphabet_of(documents))

    @property
    def bos(self) -> int:
        """Token id of the mark at both ends of a document."""
        return len(self.alphabet)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, including BOS."""
        return len(self.alphabet) + 1

    def encode(self, document: str) -> list[int]:
        """[BOS, the ids of its characters, BOS]. Raises DataError as `ids` does."""
        return [self.bos, *self.ids(document), self.bos]

    def window(self, document: str, start: int, length: int) -> list[int]:
        """encode(document)[start : start + length], without encoding the rest of the document.

        >>> Tokenizer("abn").window("anna", 3, 4)
        [2, 0, 3]
        """
        end = start + length
        tokens = self.ids(document[max(start - 1, 0) : end - 1])
        before = [self.bos] if start == 0 else []
        return before + tokens + ([self.bos] if start <= len(document) + 1 < end else [])

    def ids(self, text: str) -> list[int]:
        """The ids of the characters, without BOS. Raises DataError for one outside the alphabet."""
        ids = self._ids
        try:
            return [ids[character] for character in text]
        except KeyError:
            at = next(i for i, character in enumerate(text) if character not in ids)
            raise DataError(
                f"the character {quote(text[at])} (U+{ord(text[at]):04X}) "
                f"is not in the model's alphabet",
                where=f"character {at + 1} of {quote(text)}",
                fix=f"the alphabet is {quote(''.join(self.alphabet))}",
            ) from None

    def knows(self, text: str) -> bool:
        """Whether every character of the text is in the alphabet."""
        return all(character in self._ids for character in text)

    def decode(self, tokens: Iterable[int]) -> str:
        """The characters of these ids. BOS is left out."""
        return "".join(self.alphabet[token] for token in tokens if token != self.bos)

    def label(self, token: int) -> str:
        """How a token is displayed: its character, or "·" for BOS."""
        return "·" if token == self.bos else self.alphabet[token]
