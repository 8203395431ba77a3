"""AdamW."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(eq=False)
class AdamW:
    """Adam's moments of one array, with weight decay towards its initial value.

    Attributes
    ----------
    rate, decay : float
    start : float32 array
    first, second : float32 arrays
        First and second moments.
    """

    rate: float
    decay: float
    start: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]

    @classmethod
    def of(cls, start: NDArray[np.float32], rate: float, decay: float = 0.0) -> AdamW:
        return cls(rate, decay, start, np.zeros_like(start), np.zeros_like(start))

    def update(
        self, value: NDArray[np.float32], gradient: NDArray[np.float32], step: int, share: float
    ) -> NDArray[np.float32]:
        """Return the value after step `step` (from 1) along a gradient, at a fraction of the learning rate."""
        self.first = np.float32(BETA1) * self.first + np.float32(1 - BETA1) * gradient
        self.second = np.float32(BETA2) * self.second + np.float32(1 - BETA2) * gradient**2
        mean = self.first / np.float32(1 - BETA1**step)
        deviation = np.sqrt(self.second / np.float32(1 - BETA2**step))
        direction = mean / (deviation + np.float32(EPSILON)) + np.float32(self.decay) * (value - self.start)
        return (value - np.float32(self.rate * share) * direction).astype(np.float32)
