"""Options of a training run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vsearch.errors import InputError
from vsearch.jpq.loss import LOSSES

NEGATIVES = ("live", "static", "batch")


@dataclass(frozen=True)
class TrainOptions:
    """Validated training options; see `train`."""

    loss: str = "lambda"
    negatives: str = "live"
    epochs: int = 4
    adapter: str = "linear"
    centroids: bool = True
    batch: int = 256
    depth: int = 100
    learning_rate: float = 1.0
    patience: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("loss", self.loss, tuple(LOSSES)),
            ("negatives", self.negatives, NEGATIVES),
            ("adapter", self.adapter, ("linear", "none")),
            ("centroids", self.centroids, (True, False)),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
        for name, count, least in (
            ("epochs", self.epochs, 1),
            ("batch", self.batch, 2),
            ("depth", self.depth, 2),
            ("patience", self.patience, 1),
            ("seed", self.seed, 0),
        ):
            if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < least:
                raise InputError(f"{name} must be an integer of at least {least}, got {count!r}")
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1e3:
            raise InputError(f"learning_rate must be a multiple of the default, above 0 and at most 1000, got {rate!r}")
        if self.adapter == "none" and not self.centroids:
            raise InputError("adapter='none' with centroids=False leaves nothing to train")
