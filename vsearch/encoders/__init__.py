"""Text encoders that need no torch: read what sentence-transformers saved, and turn texts into vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch._lazy import lazy_names

if TYPE_CHECKING:
    from vsearch.encoders.encoder import TextEncoder
    from vsearch.encoders.loading import load

__all__ = ["TextEncoder", "load"]

__getattr__ = lazy_names(
    __name__,
    {
        "vsearch.encoders.encoder": ("TextEncoder",),
        "vsearch.encoders.loading": ("load",),
    },
)
