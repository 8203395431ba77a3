"""Typical residuals of partitions, and degenerate ones."""

from __future__ import annotations

import numpy as np


def residuals(n, d, seed=0, decay=0.9):
    """Gaussian residuals float32 (n, d) whose variances fall off, mixed by a random rotation."""
    basis = np.linalg.qr(np.random.default_rng(99).standard_normal((d, d)))[0]
    spread = decay ** np.arange(d)
    return ((np.random.default_rng(seed).standard_normal((n, d)) * spread) @ basis).astype(np.float32)


def _dead(n, d, seed):
    made = residuals(n, d, seed)
    made[:, : d // 2] = 0
    return made


def _outlier(n, d, seed):
    made = residuals(n, d, seed)
    made[0] *= 1e4
    return made


ODD = {
    "dead dimensions": _dead,
    "all zero": lambda n, d, seed: np.zeros((n, d), np.float32),
    "constant": lambda n, d, seed: np.full((n, d), 0.7, np.float32),
    "duplicates": lambda n, d, seed: np.repeat(residuals(2, d, seed), -(-n // 2), axis=0)[:n],
    "some zero vectors": lambda n, d, seed: residuals(n, d, seed) * (np.arange(n) % 3 > 0)[:, None].astype(np.float32),
    "tiny": lambda n, d, seed: residuals(n, d, seed) * np.float32(1e-18),
    "huge": lambda n, d, seed: residuals(n, d, seed) * np.float32(1e15),
    "an outlier": _outlier,
}
