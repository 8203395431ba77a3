"""Quantizers by name: one record each, which its module holds and which is imported only where it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vsearch.errors import CorruptIndexError, FormatVersionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.quantizers.protocol import Quantizer
    from vsearch.quantizers.record import QuantizerRecord


def _osq() -> QuantizerRecord:
    from vsearch.quantizers.osq import RECORD

    return RECORD


def _osq_lloyd() -> QuantizerRecord:
    from vsearch.quantizers.osq_lloyd import RECORD

    return RECORD


def _pq() -> QuantizerRecord:
    from vsearch.quantizers.pq import RECORD

    return RECORD


RECORDS: dict[str, Callable[[], QuantizerRecord]] = {"osq": _osq, "osq-lloyd": _osq_lloyd, "pq": _pq}
"""What gives the record of each quantizer; a reader imports only what its index uses."""


def find_quantizer(given: object) -> QuantizerRecord | None:
    """The record of a name or of a specification, None where there is none."""
    if isinstance(given, str):
        return RECORDS[given]() if given in RECORDS else None
    records = (record() for record in RECORDS.values())
    return next((record for record in records if record.given is not None and isinstance(given, record.given)), None)


def quantizer_names() -> str:
    """``osq, osq-lloyd or pq``."""
    *first, last = RECORDS
    return f"{', '.join(first)} or {last}"


def load_quantizer(name: str, configuration: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Quantizer:
    """Make a stored quantizer again.

    Raises
    ------
    FormatVersionError
        If the name is not known to this version.
    CorruptIndexError
        If the configuration or the arrays do not make one.
    """
    import numpy as np

    record = find_quantizer(name)
    if record is None:
        msg = f"the index uses the quantizer {name!r}, which this version of vsearch does not know; upgrade vsearch"
        raise FormatVersionError(msg)
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CorruptIndexError("model", f"{key} holds numbers that are not finite")
    try:
        return record.load(configuration, arrays)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptIndexError("model", f"the quantizer {name!r} cannot be read: {error!r}") from error
