"""Check and encode text queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import InputError, SearchTimeoutError
from vsearch.storage.stores.retrying import until

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Encode = Callable[[Sequence[str]], NDArray[np.float32]]

LONGEST = 1 << 20
"""Maximum number of characters of a query; an encoder reads only a few hundred words of it."""

TOGETHER, CHARACTERS = 32, 16_384
"""Texts are encoded in groups between checks of the deadline: at most so many texts, and no further ones after so many characters,
since models that read thousands of tokens take seconds for a long text."""


def as_texts(queries: Any) -> list[str] | None:
    """Return the queries of a search as texts, if they are a string or a nonempty list or tuple of strings.

    Returns
    -------
    list of str or None
        None for other queries.

    Raises
    ------
    InputError
        A text is too long.
    """
    texts = [queries] if isinstance(queries, str) else queries
    if not (isinstance(texts, (list, tuple)) and texts and all(isinstance(text, str) for text in texts)):
        return None
    for row, text in enumerate(texts):
        if len(text) > LONGEST:
            raise InputError(f"texts must have at most {LONGEST} characters, text {row} has {len(text)}")
    return list(texts)


def check_hybrid(queries: Any, text: Any) -> list[str]:
    """Return the texts of a hybrid search, which are encoded and whose words are searched for.

    Raises
    ------
    InputError
        The queries are not texts, or `text` is passed as well.
    """
    if text is not None:
        raise InputError(
            "hybrid=True searches for the words of the queries themselves; to search for other words, pass text= without hybrid"
        )
    texts = as_texts(queries)
    if texts is None:
        raise InputError("hybrid=True requires text queries; with vectors, pass text=")
    return texts


def encode_queries(encode: Encode, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return vectors float32 (m, dimensions) of text queries.

    Raises
    ------
    SearchTimeoutError
        The deadline of this thread passed.
    """
    vectors, count = [], 0
    for group in _groups(texts):
        deadline = until()
        if deadline is not None and time.monotonic() > deadline:
            raise SearchTimeoutError(f"the time ran out after {count} of {len(texts)} texts were encoded")
        vectors.append(encode(group))
        count += len(group)
    return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts that are encoded between two checks of the deadline."""
    start = size = 0
    for stop, text in enumerate(texts, 1):
        size += len(text)
        if size >= CHARACTERS or stop - start == TOGETHER or stop == len(texts):
            yield texts[start:stop]
            start, size = stop, 0
