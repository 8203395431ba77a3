"""JPQ: joint training of product quantization and the query side, on the results of searches of the live index.

Document codes are frozen. The PQ centroids and a linear adapter of the queries are trained so that relevant rows rank
first. Training needs an index built with ``quantizer="pq"``, query vectors, and the ids of the relevant rows of each
query. With the ``torch`` extra the query encoder can be trained too.
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
