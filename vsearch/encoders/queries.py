"""Texts as queries: what they may be, and their vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import InputError, SearchTimeoutError
from vsearch.storage.stores.retrying import until

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Encode = Callable[[Sequence[str]], NDArray[np.float32]]

LONGEST = 1 << 20
"""Most characters of a query; an encoder reads some hundred words of it."""

TOGETHER = 32
"""Texts between two looks at the clock."""


def as_texts(queries: Any) -> list[str] | None:
    """The queries of a search where they are texts: a string, or a list or tuple of one or more.

    Returns
    -------
    list of str or None
        None where they are something else.

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
            raise InputError(f"text {row} has {len(text)} characters; at most {LONGEST} are allowed")
    return list(texts)


def encode_queries(encode: Encode, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors float32 (m, dimensions) of queries.

    Raises
    ------
    SearchTimeoutError
        The deadline of this thread passed.
    """
    vectors = []
    for start in range(0, len(texts), TOGETHER):
        moment = until()
        if moment is not None and time.monotonic() > moment:
            raise SearchTimeoutError(f"the time ran out after {start} of {len(texts)} texts were encoded")
        vectors.append(encode(texts[start : start + TOGETHER]))
    return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
