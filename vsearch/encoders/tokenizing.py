"""What models need of a tokenizer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Protocol

from vsearch.forking import cached_property


class Tokenizer(Protocol):
    """Splits texts into tokens."""

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Ids of the tokens."""
        ...

    def encode(self, text: str, limit: int) -> list[int]:
        """Return the token ids of a text, truncated to `limit` ids including the first and the last."""
        ...


class WordTokenizer(ABC):
    """A tokenizer that splits a text at special tokens, then into words, and each word into tokens.

    Attributes
    ----------
    first, last : int
        Ids of the tokens at the ends of every text.
    special : mapping of str to int
        Ids of the tokens that are found in a text as they are.
    """

    first: int
    last: int
    special: Mapping[str, int]

    def encode(self, text: str, limit: int) -> list[int]:
        """Return the token ids of a text, truncated to `limit` ids including the first and the last."""
        ids = [self.first]
        for part in self._parts(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                for word in self._words(part):
                    self._append(word, ids)
                    if len(ids) >= limit:
                        break
            if len(ids) >= limit:
                break
        del ids[limit - 1 :]
        ids.append(self.last)
        return ids

    @abstractmethod
    def _words(self, text: str) -> Iterator[str]:
        """Yield the normalized words of a text without special tokens."""

    @abstractmethod
    def _append(self, word: str, ids: list[int]) -> None:
        """Append the ids of a word."""

    @cached_property
    def _special_pattern(self) -> re.Pattern[str] | None:
        longest_first = sorted(self.special, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def _parts(self, text: str) -> Iterator[str | int]:
        """Yield the text between special tokens, and the ids of these tokens."""
        start = 0
        if self._special_pattern is not None:
            for match in self._special_pattern.finditer(text):
                yield text[start : match.start()]
                yield self.special[match[0]]
                start = match.end()
        yield text[start:]
