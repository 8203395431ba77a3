"""Convert Arrow columns to arrays of keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch.predicates.types.record import OrderedKeys


def ordered_keys(keys: OrderedKeys, array: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the keys of an Arrow column, int64 (rows,), 0 where NULL; and its validity, bool (rows,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    numbers = keys.numbers(array)
    valid = numbers.is_valid().to_numpy(zero_copy_only=False)
    if numbers.null_count:
        numbers = pc.fill_null(numbers, 0)
    return keys.from_values(numbers.to_numpy(zero_copy_only=False)), valid
