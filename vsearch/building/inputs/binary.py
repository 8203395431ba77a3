"""Conversion of binary Arrow columns to base64, since attributes are text or numbers."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any


def is_binary(kind: Any) -> bool:
    """Whether an Arrow type holds bytes, of a fixed or of any length."""
    from pyarrow import types

    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def base64_texts(array: Any) -> Any:
    """Return the base64 of an array of bytes; NULL stays NULL."""
    import pyarrow as pa

    texts = (None if value is None else b64encode(value).decode("ascii") for value in array.to_pylist())
    return pa.array(texts, pa.string())


def bytes_of(texts: Any) -> Any:
    """Invert `base64_texts` for a chunked array."""
    import pyarrow as pa

    values = (None if text is None else b64decode(text) for chunk in texts.chunks for text in chunk.to_pylist())
    return pa.chunked_array([pa.array(values, pa.binary())])
