"""Tensors of torch as arrays, without importing it."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_array(embeddings: Any) -> Any:
    """Return a tensor, or a list of arrays and tensors, as one array; anything else unchanged."""
    if hasattr(embeddings, "detach"):
        tensor = embeddings.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if isinstance(embeddings, list | tuple) and any(hasattr(one, "detach") for one in embeddings):
        return np.stack([as_array(one) for one in embeddings])
    return embeddings
