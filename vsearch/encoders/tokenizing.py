"""The interface of tokenizers."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from typing import Protocol

from vsearch.errors import InputError
from vsearch.forking import cached_property

SPACES = "".join(
    map(chr, [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000])
)
"""The characters that are whitespace in Unicode."""


LONGEST_TOKEN, LONGEST_MERGED = 128, 1024
"""Maximum number of characters of a token, and of one that is found by merging pairs, which takes no longer for longer tokens."""

MOST_SPECIAL = 1024
"""Maximum number of tokens that are searched for in texts before these are split into words."""


def check_tokens(path: str, tokens: Collection[str], longest: int = LONGEST_TOKEN) -> None:
    """Check that tokens are short enough to be found in bounded time.

    Raises
    ------
    InputError
        A token is longer than `longest` characters.
    """
    if max(map(len, tokens), default=0) > longest:
        token = next(token for token in tokens if len(token) > longest)
        raise InputError(f"{path}: tokens must have at most {longest} characters, {token!r:.40} has {len(token)}")


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
        Ids of tokens that are matched literally in a text.
    stripped : set of str
        Such tokens that absorb whitespace before them.
    """

    first: int
    last: int
    special: Mapping[str, int]
    stripped: frozenset[str] = frozenset()

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
        return pattern_of(self.special)

    def _parts(self, text: str) -> Iterator[str | int]:
        """Yield the text between special tokens, and the ids of these tokens."""
        for part, token in self._between(text, self._special_pattern):
            yield part
            if token is not None:
                yield self.special[token]

    def _between(self, text: str, pattern: re.Pattern[str] | None) -> Iterator[tuple[str, str | None]]:
        """Yield the text before each token that a pattern finds, and this token; then the rest, and None."""
        start = 0
        if pattern is not None:
            for match in pattern.finditer(text):
                before, token = text[start : match.start()], match[0]
                yield before.rstrip(SPACES) if token in self.stripped else before, token
                start = match.end()
        yield text[start:], None


def pattern_of(tokens: Collection[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds tokens in a text, the longest of those that start at the same place; None without tokens."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def in_canonical_order(text: str) -> str:
    """Sort each run of combining characters by class, as in a decomposition of the whole text.

    Normalization of a text in this order takes linear time, which it does not otherwise.
    """
    if text.isascii() or not any(map(unicodedata.combining, set(text))):
        return text
    return "".join(
        "".join(sorted(run, key=unicodedata.combining)) if combining else "".join(run)
        for combining, run in groupby(text, lambda char: unicodedata.combining(char) > 0)
    )
