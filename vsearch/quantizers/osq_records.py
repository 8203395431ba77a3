"""The records of OSQ: with a matrix as rotation, or projected, which vectors of high dimension always are."""

from __future__ import annotations

from dataclasses import dataclass

from vsearch.quantizers.osq import STAGED_FROM, load_osq, train_osq
from vsearch.quantizers.osq_projected import load_projected, train_projected
from vsearch.quantizers.protocol import Quantizer
from vsearch.quantizers.record import Forecast, QuantizerRecord, TrainingRows

PROJECTED_ABOVE = 768
"""Dimensions above which OSQ projects: smaller matrices, in 16-bit words, about fit in caches of the second level."""


@dataclass(frozen=True)
class OSQSpecification:
    """An OSQ with an average number of bits per dimension, projected if there are more dimensions than `matrix_dimensions`."""

    bits: float
    matrix_dimensions: int = PROJECTED_ABOVE

    def check(self, _: int) -> None:
        """Accept any number of dimensions."""

    def forecast(self, dimensions: int) -> Forecast:
        stages = 2 if self.bits >= STAGED_FROM else 1
        # directions in float16, less than half of them at few bits, instead of a matrix in float32
        saved = dimensions**2 // 2 if dimensions > self.matrix_dimensions else 0
        return Forecast("nibbles", max(1, int(self.bits * dimensions + 7) // 8), 2 * stages, -saved)

    def train(self, rows: TrainingRows, seed: int) -> Quantizer:
        if rows.residuals.shape[1] > self.matrix_dimensions:
            return train_projected(rows, self.bits, seed)
        return train_osq(rows.residuals, self.bits, seed)


RECORD = QuantizerRecord("osq", lambda bits, _: OSQSpecification(bits), load_osq)
PROJECTED = QuantizerRecord("osq-projected", lambda bits, _: OSQSpecification(bits, 0), load_projected)
