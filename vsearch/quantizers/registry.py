"""Registry of quantizers: one record per name, defined in the quantizer's module and imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vsearch.errors import CorruptIndexError, FormatVersionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.quantizers.protocol import Quantizer
    from vsearch.quantizers.record import QuantizerRecord


def _osq() -> QuantizerRecord:
    from vsearch.quantizers.osq_records import RECORD

    return RECORD


def _osq_projected() -> QuantizerRecord:
    from vsearch.quantizers.osq_records import PROJECTED

    return PROJECTED


def _osq_lloyd() -> QuantizerRecord:
    from vsearch.quantizers.osq_lloyd import RECORD

    return RECORD


def _pq() -> QuantizerRecord:
    from vsearch.quantizers.pq import RECORD

    return RECORD


RECORDS: dict[str, Callable[[], QuantizerRecord]] = {
    "osq": _osq,
    "osq-projected": _osq_projected,
    "osq-lloyd": _osq_lloyd,
    "pq": _pq,
}
"""Functions that return the record of each quantizer; a reader imports only the one that its index uses."""


def find_quantizer(quantizer: object) -> QuantizerRecord | None:
    """Return the record of a name or specification, or None if there is none."""
    if isinstance(quantizer, str):
        return RECORDS[quantizer]() if quantizer in RECORDS else None
    records = (record() for record in RECORDS.values())
    return next(
        (
            record
            for record in records
            if record.options_type is not None and isinstance(quantizer, record.options_type)
        ),
        None,
    )


def quantizer_names() -> str:
    """List the names for messages: ``osq, osq-lloyd or pq``."""
    *first, last = RECORDS
    return f"{', '.join(first)} or {last}"


def load_quantizer(name: str, configuration: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Quantizer:
    """Restore a stored quantizer.

    Raises
    ------
    FormatVersionError
        This version does not support the quantizer.
    CorruptIndexError
        The configuration or the arrays are invalid.
    """
    import numpy as np

    record = find_quantizer(name)
    if record is None:
        msg = f"the index uses the quantizer {name!r}, which this version of vsearch does not support; upgrade vsearch"
        raise FormatVersionError(msg)
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CorruptIndexError("model", f"{key} contains non-finite numbers")
    try:
        return record.load(configuration, arrays)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptIndexError("model", f"cannot load the quantizer {name!r}: {error!r}") from error
