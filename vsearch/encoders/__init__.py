"""Text encoders without torch: load and compress models saved by sentence-transformers, and encode texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch._lazy import lazy_names

if TYPE_CHECKING:
    from vsearch.encoders.compressed import CompressedEncoder
    from vsearch.encoders.compressing import compress
    from vsearch.encoders.distilling import distill
    from vsearch.encoders.encoder import TextEncoder, TokenVectors
    from vsearch.encoders.evaluation import EncoderEvaluation, evaluate
    from vsearch.encoders.loading import load
    from vsearch.encoders.report import EncoderReport

__all__ = [
    "CompressedEncoder",
    "EncoderEvaluation",
    "EncoderReport",
    "TextEncoder",
    "TokenVectors",
    "compress",
    "distill",
    "evaluate",
    "load",
]

__getattr__ = lazy_names(
    __name__,
    {
        "vsearch.encoders.compressed": ("CompressedEncoder",),
        "vsearch.encoders.compressing": ("compress",),
        "vsearch.encoders.distilling": ("distill",),
        "vsearch.encoders.encoder": ("TextEncoder", "TokenVectors"),
        "vsearch.encoders.evaluation": ("EncoderEvaluation", "evaluate"),
        "vsearch.encoders.loading": ("load",),
        "vsearch.encoders.report": ("EncoderReport",),
    },
)
