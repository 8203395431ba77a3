"""OSQ of high-dimensional vectors: a rotation in O(d log d), and coded coordinates by a projection.

`osq` rotates vectors by the KLT, a matrix that outgrows the caches. It is needed to spend bits where the variance is, but
only for estimates, and only in the directions that have bits. So here vectors are rotated by random signs and Hadamard
transforms, in which rerank codes and centroids are stored; codes and their tables use the projection to the leading
directions of the KLT, which query kernels read in 7 bits; and routing uses the projection to the principal directions of the
centroids, fewer still. Since the rotation spreads all directions over all coordinates, 7 bits round them evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import cached_property
from vsearch.quantizers.gaussian import STEP
from vsearch.quantizers.hadamard import SignRotation
from vsearch.quantizers.klt import principal_directions
from vsearch.quantizers.osq import OSQ, check_planes, train_osq
from vsearch.quantizers.protocol import Calibration, Encoded, Scan
from vsearch.quantizers.record import TrainingRows

FEWER = 0.02  # increase of the squared error of codes that is accepted for fewer directions, which planning reads
ROUTING_ROWS = 1024  # rows whose centroids determine the directions that route
ROUTING_ENERGY = 0.98  # fraction of the centroids' squares in these directions
ROUTING_STEP = 16  # their number is a multiple


@dataclass(frozen=True, eq=False)
class ProjectedOSQ:
    """A trained codec.

    Attributes
    ----------
    signs : SignRotation
    projection : float16 (D, d)
        The directions, in rotated coordinates, that have bits: orthonormal up to rounding.
    routing : float16 (r, d)
        The directions that score centroids, in rotated coordinates.
    planes : OSQ
        The codec of the coordinates along `projection`; its own rotation is not used.
    """

    signs: SignRotation
    projection: NDArray[np.float16]
    routing: NDArray[np.float16]
    planes: OSQ

    name: ClassVar[str] = "osq-projected"
    scan: ClassVar[Scan] = "nibbles"

    @property
    def dimensions(self) -> int:
        return self.signs.signs.shape[1]

    @property
    def rotation(self) -> NDArray[np.float32]:
        """The rotation as a matrix, float32 (d, d), computed when first needed."""
        return self.signs.matrix

    @property
    def calibration(self) -> Calibration:
        return self.planes.calibration

    @property
    def stage_bytes(self) -> tuple[int, ...]:
        return self.planes.stage_bytes

    @property
    def table_scale(self) -> NDArray[np.float32]:
        return self.planes.table_scale

    @property
    def plane_dimensions(self) -> NDArray[np.int32]:
        return self.planes.plane_dimensions

    @property
    def plane_offsets(self) -> NDArray[np.int32]:
        return self.planes.plane_offsets

    @cached_property
    def variances(self) -> NDArray[np.float32]:
        """Share of the residuals' variance along each direction that has bits, and last along each of all others: (D + 1,)."""
        shares = np.zeros(len(self.planes.deltas) + 1)
        shares[:-1] = (self.planes.deltas / STEP[self.planes.dimension_bits]) ** 2
        shares[-1] = max(0.0, 1 - shares.sum()) / max(1, self.dimensions - len(shares) + 1)
        return shares.astype(np.float32)

    @cached_property
    def _rows(self) -> NDArray[np.float32]:
        return self.projection.astype(np.float32)

    def coordinates(self, rotated: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project rotated vectors (n, d) to the directions that have bits, and the length of the rest: (n, D + 1)."""
        coordinates = np.empty((len(rotated), len(self.projection) + 1), np.float32)
        np.matmul(rotated, self._rows.T, out=coordinates[:, :-1])
        squares = np.einsum("ij,ij->i", rotated, rotated)
        squares -= np.einsum("ij,ij->i", coordinates[:, :-1], coordinates[:, :-1])
        coordinates[:, -1] = np.sqrt(np.maximum(squares, 0))
        return coordinates

    def encode(self, residuals: NDArray[np.float32]) -> Encoded:
        return self.planes.encode(self.coordinates(np.ascontiguousarray(residuals, np.float32)))

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self.planes.decode(codes)[:, : len(self.projection)] @ self._rows, np.float32)

    def tables(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.planes.tables(self._rows @ query)

    def configuration(self) -> dict[str, Any]:
        rounds, dimensions = self.signs.signs.shape
        return {"bits": self.planes.bits, "dimensions": dimensions, "rounds": rounds, "routing": len(self.routing)}

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        planes = {name: array for name, array in self.planes.arrays().items() if name != "rotation"}
        return {"signs": self.signs.packed, "projection": self.projection, "routing": self.routing, **planes}


def train_projected(rows: TrainingRows, bits: float, seed: int) -> ProjectedOSQ:
    """Train on residuals, and on the centroids that they were computed from.

    Raises
    ------
    InputError
        `bits` is out of range.
    """
    signs = SignRotation.draw(rows.residuals.shape[1], np.random.default_rng([seed, 1]))
    residuals = np.asarray(signs.apply(rows.residuals), np.float32)
    planes = train_osq(residuals, bits, seed, FEWER)
    projection = planes.rotation[: len(planes.deltas)].astype(np.float16)
    some = slice(None, None, -(-len(residuals) // ROUTING_ROWS))
    centroids = np.asarray(signs.apply(rows.vectors[some] - rows.residuals[some]), np.float32)
    routing = principal_directions(centroids, ROUTING_ENERGY, ROUTING_STEP).astype(np.float16)
    return ProjectedOSQ(signs, projection, routing, _of_coordinates(planes))


def _of_coordinates(planes: OSQ) -> OSQ:
    """The codec for coordinates: its rotation only tells their number."""
    return replace(planes, rotation=np.empty((len(planes.deltas) + 1, 0), np.float32))


def load_projected(configuration: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ProjectedOSQ:
    """Restore a trained codec from the results of `configuration` and `arrays`.

    Raises
    ------
    ValueError
        They are inconsistent: a kernel would read or write outside its arrays.
    """
    bits, dimensions = float(configuration["bits"]), configuration["dimensions"]
    for name in ("dimensions", "rounds", "routing"):
        if type(configuration[name]) is not int or configuration[name] < 1:
            msg = f"{name} must be a positive integer, got {configuration[name]!r}"
            raise ValueError(msg)
    signs = SignRotation.unpack(arrays["signs"], configuration["rounds"], dimensions)
    planes = OSQ(
        bits,
        np.empty((len(arrays["deltas"]) + 1, 0), np.float32),
        np.asarray(arrays["deltas"], np.float32),
        np.asarray(arrays["dimension_bits"]),
        Calibration(
            np.asarray(arrays["calibration_scale"], np.float32),
            np.asarray(arrays["calibration_deviation"], np.float32),
        ),
    )
    planes = check_planes(planes, dimensions)
    for name, count in (("projection", len(planes.deltas)), ("routing", configuration["routing"])):
        array = arrays[name]
        if array.dtype != np.float16 or array.shape != (count, dimensions):
            msg = f"{name} must be float16 of the shape {(count, dimensions)}, got {array.dtype} {array.shape}"
            raise ValueError(msg)
    return ProjectedOSQ(signs, np.asarray(arrays["projection"]), np.asarray(arrays["routing"]), planes)
