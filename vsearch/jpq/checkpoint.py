"""Identification of the training run of a checkpoint."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from vsearch.jpq.pairs import Pairs
from vsearch.jpq.scoring import Documents


def fingerprint(documents: Documents, training: Pairs, validation: Pairs, options: dict[str, Any]) -> str:
    """Return a digest of everything that determines a training run."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
    manifest = documents.snapshot.manifest
    digest.update(f"{manifest.snapshot} {manifest.writer} {manifest.rows}".encode())
    for pairs in (training, validation):
        for array in (pairs.queries, pairs.starts, pairs.rows):
            digest.update(str((array.shape, array.dtype)).encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()
