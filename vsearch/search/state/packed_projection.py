"""The rotation of queries, and the directions of their coordinates, as kernels read them; see `kernels.query.projection`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import CallField, ModelField
from vsearch.search.state.packed_centroids import encode_centroids

if TYPE_CHECKING:
    from vsearch.quantizers.protocol import Projected
    from vsearch.search.state.arguments import KernelArguments
    from vsearch.search.state.model import Model


def pack_rotation(fields: KernelArguments, model: Model) -> None:
    """Pack the rotation of a model: a matrix in words if the rerank codes are coarser than these."""
    values = fields.values
    if model.projected is not None and model.adapter is None:
        signs = model.projected.signs.signs
        values[ModelField.SIGN_ROUNDS] = len(signs)
        fields.point(ModelField.SIGNS, signs, np.int8)
    elif model.rerank == "int8" and not model.far_apart:
        rotation = model.word_rotation
        values[ModelField.ROTATION_BLOCKS], values[ModelField.ROTATION_WIDTH] = rotation.groups.shape
        fields.point(ModelField.ROTATION_GROUPS, rotation.groups, np.int16)
        fields.point(ModelField.ROTATION_STEPS, rotation.steps, np.float32)
    else:
        fields.point(ModelField.ROTATION, model.query_transform, np.float32)


def pack_projection(fields: KernelArguments, dimensions: int, codec: Projected) -> None:
    """Pack the directions of the coordinates."""
    values = fields.values
    directions = np.concatenate([codec.routing, codec.projection]).astype(np.float32)
    packed = encode_centroids(directions, -(-dimensions // 4) * 4)
    values[ModelField.PROJECTED], values[ModelField.ROUTED] = len(directions), len(codec.routing)
    values[ModelField.PROJECTION_BLOCKS], values[ModelField.PROJECTION_WIDTH] = packed.groups.shape
    fields.point(ModelField.PROJECTION_GROUPS, packed.groups, np.uint8)
    fields.point(ModelField.PROJECTION_STEPS, packed.steps, np.float32)
    fields.point(ModelField.PROJECTION_LOWS, packed.lows, np.float32)


def projection_scratch(values: NDArray[np.int64], model: Model) -> list[tuple[CallField, NDArray[Any]]]:
    """Return the scratch arrays of a workspace for coordinates, and set their lengths among its fields."""
    codec = model.projected
    length = 0 if codec is None else len(codec.routing) + len(codec.projection) + 1
    wide = 0 if codec is None else model.dimensions
    values[CallField.COORDINATES_LENGTH], values[CallField.WIDE_LENGTH] = length, wide
    return [
        (CallField.COORDINATES, np.empty(length, np.float32)),
        (CallField.WIDE_QUERY, np.empty(wide, np.float64)),
    ]
