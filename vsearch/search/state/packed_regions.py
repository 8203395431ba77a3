"""The arguments of routing by regions; see `vsearch.kernels.query.regions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import CallField, ModelField
from vsearch.search.state.packed_centroids import CoarseCentroids, encode_centroids

if TYPE_CHECKING:
    from vsearch.search.state.arguments import KernelArguments
    from vsearch.search.state.model import Model
    from vsearch.search.state.regions import RegionTable


def pack_regions(
    fields: KernelArguments,
    model: Model,
    table: RegionTable,
    coarse: CoarseCentroids,
    squares: NDArray[np.float32],
    radii: NDArray[np.float32],
) -> None:
    """Pack the regions of a model whose coarse centroids are ordered by region."""
    means = encode_centroids(model.route_coordinates(table.means), coarse.dimensions)
    fields.values[ModelField.REGIONS], fields.values[ModelField.REGION_BLOCKS] = len(table.sizes), len(means.groups)
    for field, array in (
        (ModelField.MEMBERS, table.members),
        (ModelField.POSITION_SQUARES, table.at_positions(squares)),
        (ModelField.POSITION_ROUNDING_BOUNDS, coarse.rounding_bounds),
        (ModelField.POSITION_RADII, table.at_positions(radii)),
        (ModelField.REGION_STARTS, table.starts),
        (ModelField.REGION_SIZES, table.sizes),
        (ModelField.REGION_GROUPS, means.groups),
        (ModelField.REGION_STEPS, means.steps),
        (ModelField.REGION_LOWS, means.lows),
        (ModelField.REGION_SQUARES, table.squares),
        (ModelField.REGION_ROUNDING_BOUNDS, means.rounding_bounds),
        (ModelField.REGION_SPREADS, table.spreads),
    ):
        fields.point(field, array, array.dtype)


def region_scratch(values: NDArray[np.int64], model: Model) -> list[tuple[CallField, NDArray[Any]]]:
    """Return the scratch arrays of a workspace for routing by regions, and set their lengths among its fields."""
    regions = 0 if model.region_table is None else len(model.region_table.sizes)
    length = len(model.centroids) if regions else 0
    values[CallField.CHOSEN_LENGTH], values[CallField.CANDIDATES_LENGTH] = regions, length
    return [
        (CallField.CHOSEN, np.empty(regions, np.int32)),
        (CallField.CANDIDATES, np.empty(length, np.int32)),
        (CallField.CANDIDATE_SCORES, np.empty(length, np.float32)),
        (CallField.CANDIDATE_BOUNDS, np.empty(length, np.float32)),
        (CallField.CANDIDATE_RADII, np.empty(length, np.float32)),
        (CallField.CANDIDATE_MATCHES, np.empty(length, np.int64)),
    ]
