"""Columns of tokens: lists of strings that are used as terms unchanged, from the user's own analyzer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vsearch.text.analyzer import LONGEST_TERM, Beginning, Places
from vsearch.text.occurrences import Occurrences


class TokenAnalyzer:
    """Reads queries for a column of tokens: they are split at spaces and not analyzed."""

    def terms(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        return [token[:LONGEST_TERM] for token in text.split()]

    def places(self, text: str) -> Places:
        """Return the tokens of a text, one after the other."""
        tokens = self.terms(text)
        return Places(tokens, list(range(len(tokens))), len(tokens))

    def beginning(self, text: str) -> Beginning:
        """Return the tokens of a text; the last is the beginning of one, unless a space follows it."""
        tokens = self.terms(text)
        if not tokens or text[-1].isspace():
            return Beginning(tokens)
        return Beginning(tokens[:-1], tokens[-1])


def token_occurrences(lists: Iterable[Sequence[str | None] | None]) -> Occurrences:
    """Return the tokens of lists with their positions; missing and empty tokens have a position and are no terms."""
    known: dict[str, int] = {}
    sizes: list[int] = []
    term_numbers: list[int] = []
    for tokens in lists:
        sizes.append(0 if tokens is None else len(tokens))
        term_numbers += [known.setdefault(token[:LONGEST_TERM], len(known)) if token else -1 for token in tokens or ()]
    counts, numbers = np.array(sizes, np.int64), np.array(term_numbers, np.int32)
    rows = np.repeat(np.arange(len(counts)), counts)
    positions = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
    terms = numbers >= 0
    return Occurrences(list(known), rows[terms], numbers[terms], positions[terms])
