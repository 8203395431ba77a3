"""WordPiece tokenization as in BERT, using only ``unicodedata``.

Time and memory are bounded by the length of the text, which is read only until the model's length limit is reached.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vsearch.encoders.tokenizing import WordTokenizer, in_canonical_order
from vsearch.forking import cached_property

PIECE = 8192
"""Number of characters that are normalized at a time."""

KEPT = 1 << 16
"""Maximum number of characters whose normal form is cached."""

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
    """Normalization of text before it is split into words.

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
    """A table for `str.translate`: the normal form of each character, with spaces around characters that are words."""

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
        if 0xD800 <= ord(char) <= 0xDFFF:  # a lone surrogate
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
    """Whether a character is punctuation for BERT, which includes all ASCII symbols."""
    if char < "\x80":
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char).startswith("P")


@dataclass(frozen=True, eq=False, repr=False)
class WordPiece(WordTokenizer):
    """A tokenizer.

    Attributes
    ----------
    vocabulary : mapping of str to int
        Ids of the tokens; tokens that continue a word start with `prefix`.
    unknown, first, last : int
        Ids of the token for unknown words, and of the first and last token of every text.
    special : mapping of str to int
        Tokens that are recognized in the text before normalization.
    prefix : str
    longest_word : int
        Longer words are unknown.
    """

    vocabulary: Mapping[str, int]
    unknown: int
    first: int
    last: int
    special: Mapping[str, int] = field(default_factory=dict)
    normalization: Normalization = Normalization()
    prefix: str = "##"
    longest_word: int = 100

    def can_occur(self, token: str) -> bool:
        """Whether a text can have a token; others have characters that are removed, changed or separate words."""
        word = token.removeprefix(self.prefix)
        return token in self.special or [*self._words(word)] == [word]

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.vocabulary))

    @cached_property
    def _table(self) -> CharacterTable:
        return CharacterTable(self.normalization)

    def _words(self, text: str) -> Iterator[str]:
        """Yield normalized words, piece by piece."""
        table, partial = self._table, ""
        for start in range(0, len(text), PIECE):
            normal = partial + text[start : start + PIECE].translate(table)
            normal = in_canonical_order(normal)
            words = normal.split(" ")
            partial = words.pop()[: self.longest_word + 1]  # may continue in the next piece, unless it is too long
            yield from filter(None, words)
        if partial:
            yield partial

    def _append(self, word: str, ids: list[int]) -> None:
        """Append the ids of a word: the longest token that it starts with, then the longest that continues it, and so on."""
        vocabulary = self.vocabulary
        word_id = vocabulary.get(word)
        if word_id is not None and len(word) <= self.longest_word:
            ids.append(word_id)
            return
        size, start, count, longest = len(word), 0, len(ids), self._longest
        while start < size:
            stop, token_id = min(size, start + longest) if size <= self.longest_word else start, None
            while stop > start:
                token = word[start:stop] if start == 0 else self.prefix + word[start:stop]
                token_id = vocabulary.get(token)
                if token_id is not None:
                    break
                stop -= 1
            if token_id is None:
                del ids[count:]
                ids.append(self.unknown)
                return
            ids.append(token_id)
            start = stop
