"""JPQ: product quantization trained jointly with the query side, on what searches of the live index bring up.

Document codes are frozen. The centroids that stand behind them, and a linear adapter of the queries, are trained so that
relevant rows rank first. Needs an index built with ``quantizer="pq"``, query vectors, and for each the ids of its relevant
rows. With the ``torch`` extra the encoder that makes the queries is trained too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch._lazy import lazy_names

if TYPE_CHECKING:
    from vsearch.jpq.encoder import load_encoder, train_encoder
    from vsearch.jpq.trainer import export_adapter, train

__all__ = ["export_adapter", "load_encoder", "train", "train_encoder"]

__getattr__ = lazy_names(
    __name__,
    {
        "vsearch.jpq.encoder": ("load_encoder", "train_encoder"),
        "vsearch.jpq.trainer": ("export_adapter", "train"),
    },
)
