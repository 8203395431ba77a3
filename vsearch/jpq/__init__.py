"""JPQ: product quantization trained jointly with the query side, on what searches of the live index bring up.

Document codes are frozen. The centroids that stand behind them, and a linear adapter of the queries, are trained so that
relevant rows rank first. Needs an index built with ``quantizer="pq"``, query vectors, and for each the ids of its relevant
rows. With the ``torch`` extra the encoder that makes the queries is trained too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsearch.jpq.encoder import load_encoder, train_encoder
    from vsearch.jpq.trainer import export_adapter, train

__all__ = ["export_adapter", "load_encoder", "train", "train_encoder"]

_HOMES = {
    "export_adapter": "vsearch.jpq.trainer",
    "load_encoder": "vsearch.jpq.encoder",
    "train": "vsearch.jpq.trainer",
    "train_encoder": "vsearch.jpq.encoder",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'vsearch.jpq' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
