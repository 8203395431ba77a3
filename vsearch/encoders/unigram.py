"""Unigram tokenization as in XLM-R, in plain Python: the same ids as from the `tokenizers` library.

Time and memory are bounded by the length of the text, which is read only until the model's length limit is reached.
"""

from __future__ import annotations

import math
import re
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vsearch.encoders.tokenizing import WordTokenizer
from vsearch.errors import InputError
from vsearch.forking import cached_property

if TYPE_CHECKING:
    from numpy.typing import NDArray

META = "\u2581"
"""Stands for a space."""

LONGEST_WORD = 16_384
"""Longer words are cut into pieces of this many characters."""

SHORT_CLUSTER = 6
"""Clusters of a base and combining characters are normalized together if they have fewer bytes in UTF-8."""

UNKNOWN_PENALTY = 10.0
"""An unknown character scores this much less than the worst token."""

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
KEPT = 1 << 16
"""Maximum number of clusters whose normal form is cached."""

_WORDS = re.compile(f"[^{SPACES}]+")
_PIECES = re.compile(f"{META}[^{META}]*|[^{META}]+")
_PREPENDED = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f")
_ALONE = ("Cc", "Cf", "Zl", "Zp")
_EXTENDING = frozenset("\u0e33\u0eb3\u200c\u200d\uff9e\uff9f" + "".join(map(chr, range(0x1F3FB, 0x1F400))))


class CharacterMap:
    """The normalization of SentencePiece: a trie of UTF-8 strings, and the strings that replace them.

    Parameters
    ----------
    data : bytes
        The size of the trie in bytes, the trie as a double array of 32-bit units, and the zero-terminated replacements.

    Raises
    ------
    InputError
        The sizes do not fit.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        size = struct.unpack("<I", data[:4])[0] if len(data) >= 4 else 0
        if size % 4 or not 4 <= size <= len(data) - 4:
            raise InputError(f"a character map of {len(data)} bytes cannot have a trie of {size} bytes")
        self._units: NDArray[np.uint32] = np.frombuffer(data[4 : 4 + size], "<u4")
        self._replacements = data[4 + size :]

    def replacement(self, text: str) -> str | None:
        """Return what replaces the shortest prefix of a text in the trie; None if there is none."""
        units = self._units
        place = _offset(int(units[0]))
        for octet in text.encode("utf-8", "surrogatepass"):
            place ^= octet
            if octet == 0 or place >= len(units):
                return None
            unit = int(units[place])
            if unit & 0x800000FF != octet:
                return None
            place ^= _offset(unit)
            if place >= len(units):
                return None
            if unit >> 8 & 1:
                start = int(units[place]) & 0x7FFFFFFF
                return self._replacements[start : self._replacements.find(b"\0", start)].decode("utf-8", "replace")
        return None


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


def _stands_alone(char: str) -> bool:
    return unicodedata.category(char) in _ALONE or char == "\u2065" or "\ufff0" <= char <= "\ufff8"


def _extends(char: str) -> bool:
    return char >= "\u0300" and (unicodedata.category(char) in ("Mn", "Me", "Mc") or char in _EXTENDING)


def clusters(text: str) -> Iterator[str]:
    """Yield grapheme clusters, as far as they have fewer than six bytes; longer ones may be split."""
    start, size = 0, len(text)
    while start < size:
        stop = start + 1
        if text[start] == "\r" and text[stop : stop + 1] == "\n":
            stop += 1
        elif not _stands_alone(text[start]) or text[start] in _PREPENDED or text[start] in _EXTENDING:
            while stop < size and text[stop - 1] in _PREPENDED and unicodedata.category(text[stop]) not in ("Cc", "Cf"):
                stop += 1
            while stop < size and _extends(text[stop]):
                stop += 1
        yield text[start:stop]
        start = stop


@dataclass(frozen=True, eq=False, repr=False)
class Unigram(WordTokenizer):
    """A tokenizer.

    Attributes
    ----------
    vocabulary : mapping of str to int
        Ids of the tokens.
    scores : float64 (tokens,)
        Logarithms of the tokens' probabilities, by id. A word is split into the tokens with the largest sum.
    unknown, first, last : int
        Ids of the token for unknown characters, and of the first and last token of every text.
    special : mapping of str to int
        Tokens that are recognized in the text before normalization.
    characters : CharacterMap or None
    """

    vocabulary: Mapping[str, int]
    scores: NDArray[np.float64]
    unknown: int
    first: int
    last: int
    special: Mapping[str, int] = field(default_factory=dict)
    characters: CharacterMap | None = None

    @cached_property
    def _normal_forms(self) -> dict[str, str]:
        return {}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.vocabulary))

    @cached_property
    def _unknown_score(self) -> float:
        return float(self.scores.min()) - UNKNOWN_PENALTY

    @cached_property
    def _score_list(self) -> list[float]:
        scores: list[float] = self.scores.tolist()
        return scores

    def _words(self, text: str) -> Iterator[str]:
        """Yield the normalized pieces of a text that are split into tokens, each starting with `META`."""
        for chunk in _chunks(text):
            for match in _WORDS.finditer(self._normalize(chunk)):
                word = match[0]
                yield from _PIECES.findall(word if word.startswith(META) else META + word)

    def _normalize(self, text: str) -> str:
        if self.characters is None:
            return text
        known, characters = self._normal_forms, self.characters
        parts = []
        for cluster in clusters(text):
            normal = known.get(cluster)
            if normal is None:
                normal = _normal_form(cluster, characters)
                if len(known) < KEPT and len(cluster) <= SHORT_CLUSTER:
                    known[cluster] = normal
            parts.append(normal)
        return "".join(parts)

    def _append(self, word: str, ids: list[int]) -> None:
        ids += self._split(word)

    def _split(self, word: str) -> list[int]:
        """Return the ids of the tokens of a word with the best sum of scores; adjacent unknown characters are one token."""
        vocabulary, scores, longest, size = self.vocabulary, self._score_list, self._longest, len(word)
        known_token = vocabulary.get(word) if size == 1 else None
        if known_token is not None:
            return [known_token]
        best = [0.0, *[-math.inf] * size]
        ends: list[tuple[int, int]] = [(0, 0)] * (size + 1)
        for start in range(size):
            start_score = best[start]
            single = False
            for stop in range(start + 1, min(size, start + longest) + 1):
                token = vocabulary.get(word[start:stop])
                if token is None:
                    continue
                single = single or stop == start + 1
                score = start_score + scores[token]
                if score > best[stop]:
                    best[stop], ends[stop] = score, (start, token)
            if not single:
                score = start_score + self._unknown_score
                if score > best[start + 1]:
                    best[start + 1], ends[start + 1] = score, (start, self.unknown)
        ids: list[int] = []
        place = size
        while place > 0:
            place, token = ends[place]
            if token != self.unknown or not ids or ids[-1] != self.unknown:
                ids.append(token)
        return ids[::-1]


def _normal_form(cluster: str, characters: CharacterMap) -> str:
    if len(cluster.encode("utf-8", "surrogatepass")) < SHORT_CLUSTER:
        normal = characters.replacement(cluster)
        if normal is not None:
            return normal
    replaced = [(char, characters.replacement(char)) for char in cluster]
    return "".join(char if normal is None else normal for char, normal in replaced)


def _chunks(text: str) -> Iterator[str]:
    """Yield pieces of a text, cut after spaces, or within words that are too long."""
    start, size = 0, len(text)
    while start < size:
        stop = min(size, start + LONGEST_WORD)
        if stop < size:
            place = text.rfind(" ", start, stop - 1)
            while place > start and _extends(text[place + 1]):
                place = text.rfind(" ", start, place)
            stop = place if place > start else stop
        yield text[start:stop]
        start = stop
