"""Byte-level BPE tokenization as in ModernBERT and RoBERTa, in plain Python: the same ids as from the `tokenizers` library.

Time and memory are bounded by the length limit of the model, and nearly linear in the length of the text that is read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING

from vsearch.encoders.tokenizing import SPACES, WordTokenizer, in_canonical_order, pattern_of
from vsearch.forking import cached_property

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPOSED = 4
"""Number of characters that may become one by normalization."""

LONGEST_WORD = 16_384
"""Longer words are cut into pieces of this many bytes."""

LONGEST_KEPT, KEPT = 32, 1 << 16
"""Words up to this many bytes are cached, and up to this many of them."""

#: Words as in GPT-2, in texts of one letter for each class of characters; see `_Classes`.
_WORDS = re.compile(r"'(?:[stmd]|re|ve|ll)| ?[adelmrstv]+| ?0+| ?[.']+|[ \t]+(?![^ \t])|[ \t]+")


def byte_characters() -> list[str]:
    """Return the printable characters that stand for the 256 bytes in vocabularies."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    printable_bytes, substitutes = set(printable), iter(range(256, 512))
    return [chr(byte if byte in printable_bytes else next(substitutes)) for byte in range(256)]


#: For `str.translate`, from bytes read as Latin-1.
_BYTES = dict(enumerate(byte_characters()))

ALWAYS_REQUIRED = [char for byte, char in _BYTES.items() if byte < 0xF5 and byte not in (0xC0, 0xC1)]
"""Characters for the bytes that occur in UTF-8."""


class _Classes(dict[int, str]):
    """A table for `str.translate`: space, apostrophe and the letters of contractions stay; other letters become ``a``,
    digits and other numbers ``0``, whitespace a tab, and all else a point.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char in SPACES:
            kind = char if char == " " else "\t"
        elif char in "'delmrstv":
            kind = char
        else:
            kind = {"L": "a", "N": "0"}.get(unicodedata.category(char)[0], ".")
        if len(self) < KEPT:
            self[code] = kind
        return kind


_CLASSES = _Classes()


@dataclass(frozen=True, eq=False, repr=False)
class BytePairs(WordTokenizer):
    """A tokenizer.

    Attributes
    ----------
    vocabulary : mapping of str to int
        Ids of the tokens, spelled with one printable character per byte; added tokens are spelled literally.
    merges : int (n, 2)
        Ids of pairs of tokens that become one, the most important first.
    first, last : int
        Ids of the first and the last token of every text.
    special : mapping of str to int
        Added tokens that are recognized in the text before normalization.
    added : mapping of str to int
        Added tokens that are recognized after it.
    stripped : set of str
        Added tokens that absorb whitespace before them.
    composed : bool
        Whether texts are normalized to NFC.
    spaced : bool
        Whether a space is prepended to texts, and to parts after an added token, that do not start with one.
    whole : bool
        Whether a word that is itself a token is kept whole, even if merges would not produce it.
    """

    vocabulary: Mapping[str, int]
    merges: NDArray[np.uint32]
    first: int
    last: int
    special: Mapping[str, int] = field(default_factory=dict)
    added: Mapping[str, int] = field(default_factory=dict)
    stripped: frozenset[str] = frozenset()
    composed: bool = True
    spaced: bool = False
    whole: bool = False

    def encode(self, text: str, limit: int) -> list[int]:
        """Return the token ids of a text, truncated to `limit` ids including the first and the last."""
        return super().encode(text[: COMPOSED * self._longest * limit], limit)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.vocabulary))

    @cached_property
    def _ranks(self) -> dict[tuple[int, int], tuple[int, int]]:
        """The rank of each merge and the token that it makes, by pair of tokens."""
        names = {row: name for name, row in self.vocabulary.items()}
        pairs: list[tuple[int, int]] = list(map(tuple, self.merges.tolist()))
        ranks: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, pair in enumerate(pairs):
            ranks[pair] = rank, self.vocabulary[names[pair[0]] + names[pair[1]]]  # of equal pairs, the last counts
        return ranks

    @cached_property
    def _known(self) -> dict[str, list[int]]:
        return {self._normalize(token): [row] for token, row in self.added.items()}

    @cached_property
    def _added_pattern(self) -> re.Pattern[str] | None:
        return pattern_of([self._normalize(token) for token in self.added])

    def _normalize(self, text: str) -> str:
        if not self.composed or text.isascii():
            return text
        return unicodedata.normalize("NFC", in_canonical_order(text))

    def _words(self, text: str) -> Iterator[str]:
        """Yield normalized words, whose bytes are spelled as in the vocabulary, and added tokens."""
        normal = text.encode("utf-8", "replace").decode() if _has_surrogates(text) else text
        for part, token in self._between(self._normalize(normal), self._added_pattern):
            if self.spaced and part and not part.startswith(" "):
                part = f" {part}"
            for match in _WORDS.finditer(part.translate(_CLASSES)):
                word = part[match.start() : match.end()].encode().decode("latin-1").translate(_BYTES)
                for start in range(0, len(word), LONGEST_WORD):
                    yield word[start : start + LONGEST_WORD]
            if token is not None:
                yield token

    def _append(self, word: str, ids: list[int]) -> None:
        """Append the ids of a word; short words are remembered."""
        known = self._known
        tokens = known.get(word)
        if tokens is None:
            single = self.vocabulary.get(word) if self.whole else None
            tokens = self._merge(word) if single is None else [single]
            if len(word) <= LONGEST_KEPT and len(known) < KEPT:
                known[word] = tokens
        ids += tokens

    def _merge(self, word: str) -> list[int]:
        """Return the ids of a word: adjacent tokens are merged, always the first of those with the lowest rank."""
        ranks = self._ranks
        tokens = [self.vocabulary[char] for char in word]
        count = len(tokens)
        after, before = list(range(1, count + 1)), list(range(-1, count - 1))
        queue = [
            (ranks[pair][0], place, ranks[pair][1]) for place, pair in enumerate(pairwise(tokens)) if pair in ranks
        ]
        heapify(queue)
        while queue:
            _, place, merged = heappop(queue)
            right = after[place]
            if tokens[place] < 0 or right >= count or ranks.get((tokens[place], tokens[right]), (0, -1))[1] != merged:
                continue  # one of the two was merged before
            tokens[place], tokens[right] = merged, -1
            after[place] = after[right]
            if after[place] < count:
                before[after[place]] = place
            for left in (before[place], place):
                if left >= 0 and after[left] < count:
                    rank = ranks.get((tokens[left], tokens[after[left]]))
                    if rank is not None:
                        heappush(queue, (rank[0], left, rank[1]))
        return [token for token in tokens if token >= 0]


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and re.search("[\ud800-\udfff]", text) is not None
