"""WordPiece: text to token ids as BERT's tokenizer makes them, with ``unicodedata`` alone.

Time and memory are bounded by the length of the text; a text is read only up to where the model's length limit is reached.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

PIECE = 8192
"""Characters that are normalized at a time."""

KEPT = 1 << 16
"""Most characters whose normal form is remembered."""

_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


@dataclass(frozen=True)
class Normalization:
    """How text is prepared before it is split into words.

    Attributes
    ----------
    clean : bool
        Remove control characters.
    ideographs : bool
        Make each ideograph a word.
    strip_accents : bool
        Decompose characters and remove combining marks.
    lowercase : bool
    """

    clean: bool = True
    ideographs: bool = True
    strip_accents: bool = True
    lowercase: bool = True


class CharacterTable(dict[int, str]):
    """What `str.translate` puts in the place of each character: its normal form, with spaces around what is a word by itself."""

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self._normalization = normalization

    def __missing__(self, code: int) -> str:
        normal = self._normal_form(chr(code))
        if len(self) < KEPT:
            self[code] = normal
        return normal

    def _normal_form(self, char: str) -> str:
        rules = self._normalization
        if 0xD800 <= ord(char) <= 0xDFFF:  # half of a pair is no character
            return ""
        if rules.clean and _is_control(char):
            return ""
        if char.isspace() and not "\x1c" <= char <= "\x1f":
            return " "
        normal = char
        if rules.strip_accents:
            decomposed = unicodedata.normalize("NFD", char)
            normal = "".join(part for part in decomposed if unicodedata.category(part) != "Mn")
        if rules.lowercase:
            normal = "".join(part.lower() for part in normal)
        if rules.ideographs and _is_ideograph(ord(char)):
            return f" {normal} "
        return "".join(f" {part} " if _is_punctuation(part) else part for part in normal)


def _is_control(char: str) -> bool:
    if char in "\t\n\r":
        return False
    return char in "\0\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Co")


def _is_ideograph(code: int) -> bool:
    return any(first <= code <= last for first, last in _IDEOGRAPHS)


def _is_punctuation(char: str) -> bool:
    """Whether a character is punctuation to BERT: all of ASCII that is no letter, digit or space counts."""
    if char < "\x80":
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char).startswith("P")


def _in_canonical_order(text: str) -> str:
    """Sort each run of combining characters by class, as a decomposition of the whole text would have."""
    if text.isascii() or not any(map(unicodedata.combining, set(text))):
        return text
    return "".join(
        "".join(sorted(run, key=unicodedata.combining)) if combining else "".join(run)
        for combining, run in groupby(text, lambda char: unicodedata.combining(char) > 0)
    )


@dataclass(frozen=True)
class WordPiece:
    """A tokenizer.

    Attributes
    ----------
    vocabulary : mapping of str to int
        Ids of the tokens; those that continue a word begin with `prefix`.
    unknown, first, last : int
        Ids of the token for words that cannot be composed, and of those that begin and end every text.
    special : mapping of str to int
        Tokens that are recognized in the text itself, before it is normalized.
    prefix : str
    longest_word : int
        A word of more characters is unknown.
    """

    vocabulary: Mapping[str, int]
    unknown: int
    first: int
    last: int
    special: Mapping[str, int] = field(default_factory=dict)
    normalization: Normalization = Normalization()
    prefix: str = "##"
    longest_word: int = 100

    def encode(self, text: str, limit: int) -> list[int]:
        """Ids of a text, at most `limit` of them with the first and the last; what is beyond is cut off."""
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

    @cached_property
    def _table(self) -> CharacterTable:
        return CharacterTable(self.normalization)

    @cached_property
    def _special_pattern(self) -> re.Pattern[str] | None:
        longest_first = sorted(self.special, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def _parts(self, text: str) -> Iterator[str | int]:
        """The text between special tokens, and these tokens' ids."""
        start = 0
        if self._special_pattern is not None:
            for match in self._special_pattern.finditer(text):
                yield text[start : match.start()]
                yield self.special[match[0]]
                start = match.end()
        yield text[start:]

    def _words(self, text: str) -> Iterator[str]:
        """Normalized words, one piece of the text after the other."""
        table, begun = self._table, ""
        for start in range(0, len(text), PIECE):
            normal = begun + text[start : start + PIECE].translate(table)
            normal = _in_canonical_order(normal)
            words = normal.split(" ")
            begun = words.pop()[: self.longest_word + 1]  # it may go on in the next piece; too long is unknown already
            yield from filter(None, words)
        if begun:
            yield begun

    def _append(self, word: str, ids: list[int]) -> None:
        """Append the ids of a word: the longest token that it begins with, then the longest that continues it."""
        vocabulary = self.vocabulary
        whole = vocabulary.get(word)
        if whole is not None and len(word) <= self.longest_word:
            ids.append(whole)
            return
        size, start, count = len(word), 0, len(ids)
        while start < size:
            stop, found = size if size <= self.longest_word else start, None
            while stop > start:
                token = word[start:stop] if start == 0 else self.prefix + word[start:stop]
                found = vocabulary.get(token)
                if found is not None:
                    break
                stop -= 1
            if found is None:
                del ids[count:]
                ids.append(self.unknown)
                return
            ids.append(found)
            start = stop
