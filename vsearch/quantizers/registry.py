"""Quantizers by name: a manifest's configuration and a model's arrays back to a codec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError, FormatVersionError
from vsearch.quantizers.protocol import Quantizer

Loader = Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], Quantizer]


def _osq() -> Loader:
    from vsearch.quantizers.osq import load_osq

    return load_osq


def _osq_lloyd() -> Loader:
    from vsearch.quantizers.osq_lloyd import load_lloyd

    return load_lloyd


def _pq() -> Loader:
    from vsearch.quantizers.pq import load_pq

    return load_pq


#: What makes each kind again; a reader imports only what its index uses.
LOADERS: dict[str, Callable[[], Loader]] = {"osq": _osq, "osq-lloyd": _osq_lloyd, "pq": _pq}


def load_quantizer(name: str, configuration: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Quantizer:
    """Make a stored quantizer again.

    Raises
    ------
    FormatVersionError
        If the name is not known to this version.
    CorruptIndexError
        If the configuration or the arrays do not make one.
    """
    if name not in LOADERS:
        msg = f"the index uses the quantizer {name!r}, which this version of vsearch does not know; upgrade vsearch"
        raise FormatVersionError(msg)
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CorruptIndexError("model", f"{key} holds numbers that are not finite")
    load = LOADERS[name]()
    try:
        return load(configuration, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptIndexError("model", f"the quantizer {name!r} cannot be read: {error!r}") from error
