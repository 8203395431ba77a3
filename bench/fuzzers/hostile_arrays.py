"""Arrays with values, lengths, types and shapes that readers may not expect."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.soak_changes import EXTREMES
from vsearch.storage.files.entries import DTYPES

Array = NDArray[Any]


def change_array(rng: Random, array: Array) -> tuple[str, Array]:
    """Mutate an array; return what was done, and the new array."""
    what = rng.choice(sorted(_WAYS))
    return what.strip(), np.ascontiguousarray(_WAYS[what](rng, array))


def _numbers(rng: Random, array: Array) -> Array:
    """Values that an array can hold and its reader may not expect."""
    kind = array.dtype
    if kind.kind == "f":
        values = [
            np.nan,
            np.inf,
            -np.inf,
            -1.0,
            0.0,
            -0.0,
            float(np.finfo(kind).max),
            float(np.finfo(kind).tiny),
            1.5,
            -3e4,
        ]
        return np.array([rng.choice(values)], kind)
    info = np.iinfo(kind)
    near = [int(array.max(initial=0)) + 1, int(array.max(initial=0)) * 2, int(array.min(initial=0)) - 1, len(array)]
    values = [int(info.min), int(info.max), *EXTREMES, *near, rng.randrange(100)]
    return np.array([min(max(rng.choice(values), int(info.min)), int(info.max))], kind)


def _one(rng: Random, array: Array) -> Array:
    changed = array.reshape(-1).copy()
    if len(changed):
        at = rng.choice((0, len(changed) - 1, rng.randrange(len(changed))))
        changed[at] = _numbers(rng, array)[0]
    return changed.reshape(array.shape)


def _some(rng: Random, array: Array) -> Array:
    changed = array.copy()
    chosen = np.array([rng.random() < 0.2 for _ in range(len(array))], np.bool_)
    changed[chosen] = _numbers(rng, array)[0]
    return changed


def _copied(rng: Random, array: Array) -> Array:
    changed = array.copy()
    if len(changed):
        changed[rng.randrange(len(changed))] = changed[rng.randrange(len(changed))]
    return changed


def _cast(rng: Random, array: Array) -> Array:
    with np.errstate(all="ignore"):
        return array.astype(rng.choice(DTYPES))


def _shaped(rng: Random, array: Array) -> Array:
    if array.ndim > 1 and array.size:
        return rng.choice((array.reshape(-1), array.T, array[:, : max(1, array.shape[1] - 1)]))
    return rng.choice((array[:, None], array[:, None, None], np.stack([array, array], 1))) if array.ndim == 1 else array


_WAYS: dict[str, Callable[[Random, Array], Array]] = {
    "one number": _one,
    "one number ": _one,
    "one number  ": _one,
    "some numbers": _some,
    "all numbers": lambda rng, array: np.full_like(array, _numbers(rng, array)[0]),
    "noise": lambda rng, array: np.frombuffer(rng.randbytes(array.nbytes), array.dtype).reshape(array.shape),
    "reversed": lambda _, array: array[::-1],
    "shuffled": lambda rng, array: array[np.array(rng.sample(range(len(array)), len(array)), np.int64)],
    "one doubled": _copied,
    "longer": lambda rng, array: np.concatenate([array, array[: rng.choice((1, 9, len(array)))]]),
    "shorter": lambda rng, array: array[: max(0, len(array) - rng.choice((1, 1, 7)))],
    "empty": lambda _, array: array[:0],
    "of another type": _cast,
    "of another shape": _shaped,
}
