"""Convert between the build options of an index and their form in the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vsearch.building.training import BuildOptions
from vsearch.errors import CorruptIndexError
from vsearch.quantizers.pq import PQ

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot

SAME = "same"


def options_of(
    snapshot: Snapshot,
    quantizer: str | PQ = SAME,
    bits: float | None = None,
    rerank: str | None = SAME,
    partitions: int | None = None,
    shards: int | None = None,
    seed: int | None = None,
    spill: bool | None = None,
) -> BuildOptions:
    """Return the options of a retraining: those that the index was built with, except those passed here.

    Raises
    ------
    InputError
        An option is invalid, or does not fit the index.
    """
    manifest = snapshot.manifest
    stored = manifest.quantizer.configuration
    if quantizer == SAME:
        quantizer = manifest.quantizer.name
        if quantizer == "pq" and bits is None:
            quantizer = PQ(stored["subquantizers"], stored["centroids"], stored["rotation"])
    rerank = manifest.rerank if rerank == SAME else rerank
    if spill is None:  # new options may rule copies out
        spill = manifest.spill is True and rerank is not None
    bits = float(stored.get("bits", 1.0)) if bits is None else bits
    return BuildOptions(
        manifest.metric,  # type: ignore[arg-type]
        quantizer,
        bits,
        rerank,
        partitions,
        min(len(manifest.shards), max(1, manifest.rows)) if shards is None else shards,
        manifest.seed if seed is None else seed,
        spill,
    ).sized(manifest.dimensions)


def store_options(options: BuildOptions) -> dict[str, Any]:
    """Return options as JSON values."""
    quantizer: Any = options.quantizer
    if isinstance(quantizer, PQ):
        quantizer = {
            "subquantizers": int(quantizer.subquantizers),
            "centroids": int(quantizer.centroids),
            "rotation": bool(quantizer.rotation),
        }
    return {
        "quantizer": quantizer,
        "bits": options.bits,
        "rerank": options.rerank,
        "partitions": options.partitions,
        "shards": options.shards,
        "seed": options.seed,
    } | ({"spill": True} if options.spill is True else {})


class _Stored(msgspec.Struct):
    quantizer: str | dict[str, Any]
    bits: float
    rerank: str | None
    partitions: int | None
    shards: int | None
    seed: int
    spill: bool = False


def read_options(stored: dict[str, Any], metric: Any) -> BuildOptions:
    """Return the options stored in a manifest.

    Raises
    ------
    CorruptIndexError
        They are invalid.
    """
    try:
        read = msgspec.convert(stored, _Stored)
        quantizer = PQ(**read.quantizer) if isinstance(read.quantizer, dict) else read.quantizer
        return BuildOptions(
            metric, quantizer, read.bits, read.rerank, read.partitions, read.shards, read.seed, read.spill
        )
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise CorruptIndexError("manifest", f"invalid training options: {error}") from None
