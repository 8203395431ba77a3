"""How the learning rate changes during a training."""

from __future__ import annotations

WARM_UP = 0.1  # of all steps


def schedule(step: int, steps: int) -> float:
    """Return the fraction of the learning rate at a step (from 1): rises over the first tenth, then decays to zero."""
    warm = max(1, round(WARM_UP * steps))
    return min(step / warm, max(0.0, (steps - step + 1) / max(1, steps - warm + 1)))
