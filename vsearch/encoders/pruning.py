"""Encoders with fewer layers, and with fewer tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.bert import FloatTable
from vsearch.encoders.quantizing import enough, tokenize
from vsearch.encoders.report import cosines
from vsearch.encoders.unigram import Unigram
from vsearch.encoders.wordpiece import WordPiece
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.encoders.bert import Bert, Linear


def choose_layers(model: Bert[Linear], texts: list[list[int]], layers: Any) -> tuple[int, ...]:
    """Return the numbers of the layers to keep.

    Parameters
    ----------
    texts : list of list of int
        Token ids of the calibration texts.
    layers : int or sequence of int
        Numbers of layers, or how many to keep. In the latter case, layers are dropped one by one: each time the one whose removal
        leaves the highest mean cosine similarity to the model's vectors.

    Raises
    ------
    InputError
        There are no such layers.
    """
    count = len(model.layers)
    if isinstance(layers, Sequence) and not isinstance(layers, str):
        numbers = list(layers)
        known = all(type(number) is int and 0 <= number < count for number in numbers)
        if not numbers or not known or numbers != sorted(set(numbers)):
            raise InputError(f"layers must be ascending numbers from 0 to {count - 1}, got {layers!r}")
        return tuple(numbers)
    if type(layers) is not int or not 1 <= layers <= count:
        raise InputError(f"layers must be an integer from 1 to {count} or a sequence of layer numbers, got {layers!r}")
    sample = enough(texts)
    expected = model.forward(sample)
    kept = tuple(range(count))
    while len(kept) > layers:
        candidates = [tuple(number for number in kept if number != dropped) for dropped in kept]
        near = [cosines(expected, keep_layers(model, candidate).forward(sample)).mean() for candidate in candidates]
        kept = candidates[int(np.argmax(near))]
    return kept


def keep_layers(model: Bert[Linear], layers: Sequence[int]) -> Bert[Linear]:
    """Return the model with some of its layers only."""
    sizes = model.architecture
    return replace(
        model,
        layers=tuple(model.layers[number] for number in layers),
        architecture=replace(
            sizes, layers=len(layers), rotary=tuple(sizes.rotary[number] for number in layers if sizes.rotary)
        ),
    )


def keep_tokens(model: Bert[Linear], texts: Sequence[str], count: int) -> Bert[Linear]:
    """Return the model with `count` of its tokens only, in their order.

    Special tokens and the tokens that `needed_tokens` returns are always kept, then those that occur most often in texts; of equally
    frequent ones those with the lowest ids, since vocabularies are usually sorted by frequency. Tokens that no text has are last.

    Raises
    ------
    InputError
        The count is out of range, or the tokenizer is byte-level BPE, whose tokens are made of each other.
    """
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, (WordPiece, Unigram)):
        raise InputError("vocabulary requires a WordPiece or Unigram tokenizer")
    vocabulary = tokenizer.vocabulary
    needed = needed_tokens(tokenizer) if isinstance(tokenizer, WordPiece) else needed_pieces(tokenizer)
    if type(count) is not int or not len(needed) <= count <= len(vocabulary):
        raise InputError(
            f"vocabulary must be an integer from {len(needed)} (special tokens and single characters) to {len(vocabulary)}, "
            f"got {count!r}"
        )
    occurrences = Counter(token for ids in tokenize(model, texts) for token in ids)
    ranks = {
        number: (-occurrences[number], isinstance(tokenizer, WordPiece) and not tokenizer.can_occur(token), number)
        for token, number in vocabulary.items()
    }
    unneeded = sorted(set(vocabulary.values()) - needed, key=ranks.__getitem__)
    kept = sorted(needed.union(unneeded[: count - len(needed)]))
    return replace(
        model,
        tokenizer=renumbered(tokenizer, kept),
        table=FloatTable(model.table.take(kept, model.architecture.width)),
        architecture=replace(model.architecture, tokens=len(kept)),
    )


def needed_tokens(tokenizer: WordPiece) -> set[int]:
    """Return the ids of special tokens, and of the tokens required to spell every word that the vocabulary can spell now.

    These are all single characters, at the start of a word and within it, and all tokens with a character that is no token itself.
    """
    prefix, vocabulary = tokenizer.prefix, tokenizer.vocabulary
    needed = {tokenizer.unknown, tokenizer.first, tokenizer.last, *tokenizer.special.values()}
    singles = {token for token in vocabulary if len(token.removeprefix(prefix)) <= 1}
    for token, number in vocabulary.items():
        inner = token.startswith(prefix) and len(token) > len(prefix)
        chars = token.removeprefix(prefix) if inner else token
        spelled = [prefix + char if inner or place else char for place, char in enumerate(chars)]
        if token in singles or not singles.issuperset(spelled):
            needed.add(number)
    return needed


def needed_pieces(tokenizer: Unigram) -> set[int]:
    """Return the ids of special tokens, of single characters, and of tokens with a character that is no token itself."""
    vocabulary = tokenizer.vocabulary
    needed = {tokenizer.unknown, tokenizer.first, tokenizer.last, *tokenizer.special.values()}
    return needed | {
        number
        for token, number in vocabulary.items()
        if len(token) == 1 or any(char not in vocabulary for char in token)
    }


def renumbered(tokenizer: WordPiece | Unigram, kept: Sequence[int]) -> WordPiece | Unigram:
    """Return a tokenizer with some of its tokens, whose ids are their places among these."""
    numbers = {number: place for place, number in enumerate(kept)}
    changes: dict[str, Any] = {
        "vocabulary": {token: numbers[at] for token, at in tokenizer.vocabulary.items() if at in numbers},
        "unknown": numbers[tokenizer.unknown],
        "first": numbers[tokenizer.first],
        "last": numbers[tokenizer.last],
        "special": {token: numbers[at] for token, at in tokenizer.special.items()},
    }
    if isinstance(tokenizer, Unigram):
        changes["scores"] = tokenizer.scores[list(kept)]
    return replace(tokenizer, **changes)
