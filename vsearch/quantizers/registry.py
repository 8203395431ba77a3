"""Quantizers by name: a manifest's configuration and a model's arrays back to a codec."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError, FormatVersionError
from vsearch.quantizers.protocol import Quantizer

#: Module and function that makes each kind again; a reader loads only what its index uses.
LOADERS = {"osq": ("osq", "load_osq"), "osq-lloyd": ("lloyd", "load_lloyd"), "pq": ("pq", "load_pq")}


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
    module, loader = LOADERS[name]
    load = getattr(import_module(f"vsearch.quantizers.{module}"), loader)
    try:
        return load(configuration, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptIndexError("model", f"the quantizer {name!r} cannot be read: {error!r}") from error
