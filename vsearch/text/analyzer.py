"""Split texts into terms. Builds and queries use the same settings, which the index stores.

A text is normalized (Unicode NFKC) and split into chunks: words, numbers, codes, emoji. Each distinct chunk is analyzed once and
yields any number of terms, so Python does work per distinct chunk, not per row.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vsearch.text.stemming import stemmer

VERSION = 1
"""Version of the rules in this module; an index stores the version that it was built with."""

LONGEST_TERM = 128
"""Maximum number of characters of a term; longer words are split into several."""

LONGEST_CODE = 64
"""Maximum number of characters of a code that is a term itself, in addition to its parts."""

MOST_KNOWN = 16384
"""Maximum number of chunks of queries whose terms are cached."""

LONGEST_SHARP = 2
"""Maximum number of letters before ``++`` or ``#`` that form one term with it."""

MOST_MARKS = 30
"""Maximum number of consecutive combining marks; writing systems need a few, and normalization is quadratic in their number."""

SEPARATOR = "\x00"

#: Scripts without spaces between words; their terms are pairs of characters.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua9e0-\ua9fe\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
#: Accents, and the vowel points of Arabic and Hebrew, which are optional in writing.
ACCENTS = "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
EMOJI = "\u2600-\u27bf\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff"


def _marks() -> str:
    r"""Return the marks of the basic plane as ranges of a character class; they are parts of words but not in ``\w``."""
    ranges: list[list[int]] = []
    for code in range(0x300, 0x10000):
        if unicodedata.category(chr(code))[0] == "M" and not 0xFE00 <= code <= 0xFE0F:  # variants of emoji
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)


@cache
def _mark_table() -> NDArray[np.bool_]:
    """Return which of the characters below U+20000 are marks, or become marks when they are normalized."""
    table = np.zeros(0x20000, bool)
    for code in (*range(0x300, 0xD800), *range(0xE000, len(table))):
        character = chr(code)
        if unicodedata.category(character)[0] == "M" or code in {0xFF9E, 0xFF9F}:
            table[code] = True
    return table


def normalized(text: str) -> str:
    """Return a text in normalization form NFKC. Of more than `MOST_MARKS` consecutive marks, the rest is dropped."""
    if text.isascii():
        return text
    if len(text) > MOST_MARKS:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        table = _mark_table()
        marks = np.flatnonzero(table[np.minimum(codes, len(table) - 1)])
        if len(marks) > MOST_MARKS:
            follow = np.zeros(len(marks), bool)  # those that have MOST_MARKS marks directly before them
            follow[MOST_MARKS:] = marks[MOST_MARKS:] - marks[:-MOST_MARKS] == MOST_MARKS
            if follow.any():
                text = np.delete(codes, marks[follow]).tobytes().decode("utf-32-le", "surrogatepass")
    return unicodedata.normalize("NFKC", text)


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of chunks, of words in a chunk, of runs of unspaced scripts, of numbers, and of accents."""
    marks = _marks()
    word = rf"[^\W_](?:[^\W_]+|[{marks}]+|(?<=[^\W_])\u200d)*"
    chunk = rf"{SEPARATOR}|{word}(?:(?:[-._/:@]|(?<=\d),(?=\d)){word})*(?:(?:\+\+|#)(?!\w))?|[{EMOJI}]"
    return (
        re.compile(chunk),
        re.compile(word),
        re.compile(f"[{UNSPACED}{marks}]*[{UNSPACED}][{UNSPACED}{marks}]*"),
        re.compile(r"\d+(?:[.,]\d+)*"),
        re.compile(f"[{ACCENTS}]+"),
    )


@dataclass(frozen=True)
class Settings:
    """The settings of an analyzer.

    Attributes
    ----------
    language : str or None
        Language of the Snowball stemmer; None for no stemming.
    stop_words : tuple of str
        Words that are ignored, in lower case.
    fold : bool
        Whether accents are removed.
    """

    language: str | None = None
    stop_words: tuple[str, ...] = ()
    fold: bool = True


class Beginning(NamedTuple):
    """The terms that a text before an asterisk matches.

    Attributes
    ----------
    terms : list of str
        Terms of its complete words.
    prefix : str
        Prefix of a further term, not stemmed; empty if all words are complete.
    others : list of str
        Terms that match instead of the prefix although they do not begin with it: its stem, or the part before its last dot.
    """

    terms: list[str]
    prefix: str = ""
    others: Sequence[str] = ()


class Places(NamedTuple):
    """Terms, the position of each, ascending, and the number of positions of their text."""

    terms: list[str]
    positions: list[int]
    width: int


class QueryAnalyzer(Protocol):
    """Splits queries into terms in the same way as the texts of a column."""

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text, in order."""

    def places(self, text: str) -> Places:
        """Return these terms with their positions."""

    def beginning(self, text: str) -> Beginning:
        """Return the terms that a text before an asterisk matches."""


class Analyzer:
    """Splits texts into terms. Not thread-safe, since Snowball stemmers have state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._chunk, self._word, self._unspaced, self._number, self._accents = _patterns()
        self._known: dict[str, list[str]] = {}  # terms of chunks of queries
        self._stop = frozenset(map(lowered, settings.stop_words))
        self._stem = None if settings.language is None else stemmer(settings.language)

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text, in order; a code yields itself and its parts."""
        known, terms = self._known, []
        for chunk in self._cut(text):
            of_chunk = known.get(chunk)
            if of_chunk is None:
                of_chunk = self.analyze(chunk)
                if len(chunk) <= LONGEST_CODE:
                    if len(known) >= MOST_KNOWN:
                        known.clear()
                    known[chunk] = of_chunk
            terms += of_chunk
        return terms

    def beginning(self, text: str) -> Beginning:
        """Return the terms that a text before an asterisk matches; its last word, or a code, is the prefix of terms."""
        text = normalized(text.replace(SEPARATOR, " "))
        chunks = list(self._chunk.finditer(text))
        if not chunks:
            return Beginning([])
        *before, last = chunks
        terms = list(chain.from_iterable(self.analyze(chunk[0]) for chunk in before))
        chunk, following = last[0], text[last.end() :]
        words = self._word.findall(chunk)
        if not words or (following and not _goes_on(chunk, following)):  # an emoji, or words that have ended
            return Beginning(terms + self.analyze(chunk))
        sharp = chunk[-1] in "+#"
        if sharp and len(chunk.rstrip("+#")) > LONGEST_SHARP:
            return Beginning(terms + self.analyze(chunk))
        if following and following not in "+#":
            return Beginning(terms, self._folded(lowered(chunk + following))[:LONGEST_TERM], self.analyze(chunk))
        if following or sharp or self._number.fullmatch(chunk) or _is_code(chunk, words):
            return self._begun(terms, chunk + following)
        *complete, word = words
        terms += chain.from_iterable(map(self._of_word, complete))
        runs = [] if word.isascii() else list(self._unspaced.finditer(word))
        if not runs:
            return self._begun(terms, word, stemmed=True)
        if runs[-1].end() < len(word):
            end = runs[-1].end()
            return self._begun(terms + self._of_word(word[:end]), word[end:], stemmed=True)
        *pairs, pair = self._of_word(word)
        return Beginning(terms + pairs, pair)

    def _begun(self, terms: list[str], word: str, *, stemmed: bool = False) -> Beginning:
        word = lowered(word)
        *pieces, prefix = cut(self._folded(word)) or [""]
        if not stemmed or self._stem is None or pieces or not word.isalpha():
            return Beginning(terms + pieces, prefix)
        stem = self._folded(self._stem(word))
        return Beginning(terms, prefix, () if stem.startswith(prefix) else [stem])

    def chunks(self, texts: Sequence[str]) -> list[str]:
        """Return the chunks of texts, separated by `SEPARATOR`."""
        joined = SEPARATOR.join(texts)
        if joined.count(SEPARATOR) >= len(texts):  # a text has that character, which is no part of a word
            joined = SEPARATOR.join([text.replace(SEPARATOR, " ") for text in texts])
        return self._chunk.findall(normalized(joined))

    def analyze(self, chunk: str) -> list[str]:
        """Return the terms of a chunk."""
        if chunk.isascii() and chunk.isalpha():
            return self._finish(chunk)
        code, words = self._parts(chunk)
        return list(chain(code, *words))

    def analyze_places(self, chunk: str) -> Places:
        """Return the terms of a chunk with their positions in it, and how many positions it takes.

        A code has the position of its first part, so that a phrase may have either. A stop word leaves its position empty.
        """
        code, words = self._parts(chunk)
        terms, positions, width = list(code), [0] * len(code), 0
        for of_word in words:
            terms += of_word
            positions += range(width, width + len(of_word))
            width += max(len(of_word), 1)
        return Places(terms, positions, width)

    def places(self, text: str) -> Places:
        """Return the terms of a text, in order, with their positions, and how many positions the text takes."""
        terms: list[str] = []
        positions: list[int] = []
        width = 0
        for chunk in self._cut(text):
            of_chunk = self.analyze_places(chunk)
            terms += of_chunk.terms
            positions += (width + position for position in of_chunk.positions)
            width += of_chunk.width
        return Places(terms, positions, width)

    def _cut(self, text: str) -> list[str]:
        """Return the chunks of one text."""
        return self._chunk.findall(normalized(text.replace(SEPARATOR, " ")))

    def _parts(self, chunk: str) -> tuple[list[str], list[list[str]]]:
        """Return a code as a term, if the chunk is one, and the terms of each of its words."""
        if chunk.isascii() and chunk.isalpha():
            return [], [self._finish(chunk)]
        if self._number.fullmatch(chunk):
            return [], [cut(chunk)]
        words = self._word.findall(chunk)
        if not words:
            return [], [[chunk]]  # an emoji
        if chunk[-1] in "+#":
            base = chunk.rstrip("+#")
            if len(base) <= LONGEST_SHARP:  # C++, C#
                return [], [[lowered(chunk)]]
            chunk = base
        code = [self._folded(lowered(chunk))] if _is_code(chunk, words) else []
        return code, [self._of_word(word) for word in words]

    def _of_word(self, word: str) -> list[str]:
        if word.isascii():
            return self._finish(word)
        terms: list[str] = []
        done = 0
        for run in self._unspaced.finditer(word):
            if run.start() > done:
                terms += self._finish(word[done : run.start()])
            terms += self._pairs(run[0])
            done = run.end()
        if done < len(word):
            terms += self._finish(word[done:])
        return terms

    def _pairs(self, run: str) -> list[str]:
        """Return the pairs of adjacent characters of a script without spaces; a single character is returned unchanged."""
        run = lowered(run)
        return [run] if len(run) < 3 else [run[i : i + 2] for i in range(len(run) - 1)]

    def _finish(self, word: str) -> list[str]:
        word = lowered(word)
        if word in self._stop:
            return []
        if self._stem is None and len(word) <= LONGEST_TERM and word.isascii():
            return [word]
        if self._stem is not None and word.isalpha() and len(word) <= LONGEST_TERM:
            word = self._stem(word)
        word = self._folded(word)
        return cut(word) if word else []

    def _folded(self, word: str) -> str:
        if word.isascii() or not self.settings.fold:
            return word
        return unicodedata.normalize("NFC", self._accents.sub("", unicodedata.normalize("NFD", word)))


def _is_code(chunk: str, words: Sequence[str]) -> bool:
    """Whether a chunk is a term besides its words."""
    return len(words) > 1 and len(chunk) <= LONGEST_CODE and any(c == "_" or c.isdigit() for c in chunk)


def _goes_on(chunk: str, following: str) -> bool:
    """Whether a term can begin with a chunk and the characters after it, such as ``v5.``, ``snake_``, ``1,`` or ``c+``."""
    if following in ("+", "#"):
        return len(chunk) <= LONGEST_SHARP
    if following == ",":
        return chunk[-1].isdigit()
    return following in ("-", ".", "_", "/", ":", "@") and any(c == "_" or c.isdigit() for c in chunk + following)


def lowered(word: str) -> str:
    """Return a word with its case folded, normalized."""
    return word.lower() if word.isascii() else unicodedata.normalize("NFKC", word.casefold())


def cut(word: str) -> list[str]:
    """Split a word into pieces of at most the length of a term."""
    if len(word) <= LONGEST_TERM:
        return [word]
    return [word[i : i + LONGEST_TERM] for i in range(0, len(word), LONGEST_TERM)]
