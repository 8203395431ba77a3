"""What every quantizer offers: building encodes with it, search asks it for lookup tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Scan = Literal["nibbles", "bytes", "cells"]
"""How codes are searched: sums of tables that estimate scores (`search.engine.scanning`), 16 entries for each nibble or 256 for each
byte, or cells of every dimension that bound distances from below (`search.engine.cells`)."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Codes of n residuals, or of n vectors.

    Attributes
    ----------
    codes : uint8 (n, code_bytes)
        Packed codes, row by row; the layout in blocks is made by building.
    factors : float32 (n,) or (0,)
        ``<query, residual>`` is about ``factor * (table sum)``; cells need none.
    first_factors : float32 (n,) or None
        The same for the first stage alone; None where there is one stage.
    """

    codes: NDArray[np.uint8]
    factors: NDArray[np.float32]
    first_factors: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """How good the estimate of a stage is, measured on a sample.

    Attributes
    ----------
    scale : float32 (stages,)
        What a stage's estimate is multiplied with to be right on average.
    deviation : float32 (stages,)
        Standard deviation of the estimate's error, in units of ``factor * |query|``.
    """

    scale: NDArray[np.float32]
    deviation: NDArray[np.float32]


class Quantizer(Protocol):
    """A trained codec: frozen, named, made of a small configuration and some arrays."""

    @property
    def name(self) -> str: ...

    @property
    def scan(self) -> Scan: ...

    @property
    def rotation(self) -> NDArray[np.float32]:
        """Orthogonal float32 (d, d): codes are of ``rotation @ (vector - mean - centroid)``, without the centroid for cells."""
        ...

    @property
    def stage_bytes(self) -> tuple[int, ...]:
        """Bytes of a vector's code that each stage of the scan reads; one or two stages."""
        ...

    @property
    def calibration(self) -> Calibration: ...

    def encode(self, vectors: NDArray[np.float32], /) -> Encoded:
        """Encode rotated residuals (n, d), for cells rotated vectors."""
        ...

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Rotated reconstruction (n, d) of what was encoded, up to each vector's factor."""
        ...

    def tables(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lookup tables float32 of a rotated query (d,): (2 * code_bytes, 16); (code_bytes, 256) of bytes; (cells,)."""
        ...

    def configuration(self) -> dict[str, Any]:
        """What the manifest keeps; with `arrays` it makes the quantizer again."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What the model file keeps."""
        ...


@runtime_checkable
class SignPlanes(Protocol):
    """A quantizer of scan "nibbles" whose tables are sums of signs: the kernel of a query makes them itself."""

    @property
    def table_scale(self) -> NDArray[np.float32]:
        """What the coded dimensions of a rotated query are multiplied with first, float32 (D,)."""
        ...

    @property
    def plane_dimensions(self) -> NDArray[np.int32]:
        """How many leading dimensions each plane holds, int32 (planes,), descending."""
        ...

    @property
    def plane_offsets(self) -> NDArray[np.int32]:
        """First nibble of each plane, int32 (planes,)."""
        ...
