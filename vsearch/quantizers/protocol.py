"""The protocol of quantizers: builds encode with them, searches get lookup tables from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vsearch.quantizers.hadamard import SignRotation

Scan = Literal["nibbles", "bytes", "cells"]
"""How codes are scanned: "nibbles" and "bytes" sum table entries (16 per nibble, 256 per byte) to estimate scores
(`search.engine.scanning`); "cells" sums squared gaps to cells to bound distances from below (`search.engine.cells`)."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Codes of n residuals or, for scan "cells", of n vectors.

    Attributes
    ----------
    codes : uint8 (n, code_bytes)
        Packed codes, row by row; the build arranges them in blocks.
    factors : float32 (n,) or (0,)
        ``<query, residual>`` is approximately ``factor * (table sum)``; empty for cells.
    first_factors : float32 (n,) or None
        The factors of the first stage; None if there is one stage.
    """

    codes: NDArray[np.uint8]
    factors: NDArray[np.float32]
    first_factors: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """Bias and error of the estimate of each stage, measured on a sample.

    Attributes
    ----------
    scale : float32 (stages,)
        Multiplier that makes the estimate unbiased.
    deviation : float32 (stages,)
        Standard deviation of the estimate's error, in units of ``factor * |query|``.
    """

    scale: NDArray[np.float32]
    deviation: NDArray[np.float32]


class Quantizer(Protocol):
    """A trained codec: frozen, named, defined by a small configuration and some arrays."""

    @property
    def name(self) -> str: ...

    @property
    def scan(self) -> Scan: ...

    @property
    def rotation(self) -> NDArray[np.float32]:
        """Orthogonal, float32 (d, d); rotates ``vector - mean - centroid`` or, for cells, ``vector - mean``."""
        ...

    @property
    def stage_bytes(self) -> tuple[int, ...]:
        """Bytes of a vector's code that each stage of the scan reads, for one or two stages."""
        ...

    @property
    def calibration(self) -> Calibration: ...

    def encode(self, vectors: NDArray[np.float32], /) -> Encoded:
        """Encode rotated residuals (n, d) or, for cells, rotated vectors."""
        ...

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Decode to rotated residuals or vectors (n, d), up to each vector's factor."""
        ...

    def tables(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the lookup tables of a rotated query (d,), float32.

        The shape is (2 * code_bytes, 16) for nibbles, (code_bytes, 256) for bytes, (cells,) for cells.
        """
        ...

    def configuration(self) -> dict[str, Any]:
        """Return the settings to store in the manifest; with `arrays` they restore the quantizer."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays to store in the model file."""
        ...


@runtime_checkable
class Projected(Protocol):
    """A quantizer that rotates by signs, and plans queries by coordinates along some directions.

    Its tables are signed sums (`SignPlanes`) of the coordinates along `projection`.
    """

    @property
    def signs(self) -> SignRotation:
        """The rotation."""
        ...

    @property
    def projection(self) -> NDArray[np.float16]:
        """Orthonormal directions that have bits, in rotated coordinates: float16 (D, d)."""
        ...

    @property
    def routing(self) -> NDArray[np.float16]:
        """Orthonormal directions that score centroids, in rotated coordinates: float16 (r, d), r >= 1."""
        ...

    @property
    def variances(self) -> NDArray[np.float32]:
        """Share of the residuals' variance along each direction that has bits, and last along each of all others: (D + 1,)."""
        ...

    def coordinates(self, rotated: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Project rotated vectors (n, d) to the directions that have bits, and the length of the rest: (n, D + 1)."""
        ...


@runtime_checkable
class SignPlanes(Protocol):
    """A quantizer with scan "nibbles" whose tables are signed sums, which the query kernel computes itself."""

    @property
    def table_scale(self) -> NDArray[np.float32]:
        """Weights of the coded dimensions of a rotated query, float32 (D,)."""
        ...

    @property
    def plane_dimensions(self) -> NDArray[np.int32]:
        """Number of leading dimensions in each plane, int32 (planes,), non-increasing."""
        ...

    @property
    def plane_offsets(self) -> NDArray[np.int32]:
        """First nibble of each plane, int32 (planes,)."""
        ...
