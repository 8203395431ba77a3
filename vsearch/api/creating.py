"""Creating an empty index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from vsearch.api.index import Index
from vsearch.errors import IndexExistsError, IndexNotFoundError, InputError
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import open_store, read_manifest

if TYPE_CHECKING:
    import os

    import pyarrow as pa

    from vsearch.metrics import MetricName
    from vsearch.quantizers.pq import PQ
    from vsearch.storage import Manifest, Store
    from vsearch.text.columns import TextColumn


def create(
    url: str | os.PathLike[str],
    dimensions: int,
    *,
    attributes: Mapping[str, Any] | pa.Schema | None = None,
    ids: Literal["row", "int64", "string"] = "row",
    ttl: str | None = None,
    text: str | Mapping[str, float | TextColumn] | None = None,
    sparse: str | Mapping[str, float | None] | None = None,
    metric: MetricName = "cosine",
    quantizer: str | PQ = "osq",
    bits: float = 1.0,
    rerank: Literal["auto", "int8", "float16", "float32"] | None = "auto",
    partitions: int | None = None,
    shards: int | None = None,
    seed: int = 0,
    spill: bool = False,
    **storage: object,
) -> Index:
    """Create an index without rows and open it.

    Up to 2,000 rows (10,000 for PQ), vectors are stored uncompressed and searches are exact. The `append` or `upsert` that
    reaches this number also trains the index with the options passed here, which takes as long as a build of that many rows.

    Parameters
    ----------
    url : str or path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    dimensions : int
        Dimensions of the vectors.
    attributes : mapping of name to type, or pyarrow.Schema, optional
        Arrow types, their names (``"int64"``), or int, float, str and bool. `Index.add_column` adds more later.
    ids : {"row", "int64", "string"}
        Type of the row ids; "row" means that the index numbers the rows.
    text : str or mapping, optional
        Attributes of strings whose words `Index.search_text` searches; see `vsearch.build`.
    sparse : str or mapping, optional
        The attribute of strings with the weights that `Index.search_sparse` searches by, or a dict of it and its largest usual weight
        (about 4 by default); see `Index.add_sparse`. Rows state them as maps or JSON objects.
    ttl, metric, quantizer, bits, rerank, partitions, shards, seed, spill
        See `vsearch.build`.
    **storage
        See `vsearch.open`.

    Raises
    ------
    InputError
        An option is invalid.
    IndexExistsError
        The index already exists.
    """
    store = open_store(url, **storage)
    options = {
        "attributes": attributes,
        "ids": ids,
        "ttl": ttl,
        "text": text,
        "sparse": sparse,
        "metric": metric,
        "quantizer": quantizer,
        "bits": bits,
        "rerank": rerank,
        "partitions": partitions,
        "shards": shards,
        "seed": seed,
        "spill": spill,
    }
    return Index(open_snapshot(store, _create(store, {"dimensions": dimensions, **options})))


def open_or_create(store: Store, options: Mapping[str, Any], refresh: float | None) -> Index:
    """Open the newest snapshot of an index, creating the index if necessary; if several processes do, one creates it.

    Raises
    ------
    InputError
        The options are not arguments of `create`.
    """
    try:
        return Index(open_snapshot(store, read_manifest(store)), refresh)
    except IndexNotFoundError:
        pass
    if not isinstance(options, Mapping) or "dimensions" not in options:
        raise InputError(f"create must be a dict of arguments of vsearch.create, with dimensions, got {options!r:.100}")
    try:
        manifest = _create(store, dict(options))
    except IndexExistsError:
        manifest = read_manifest(store)
    return Index(open_snapshot(store, manifest), refresh)


def _create(store: Store, arguments: dict[str, Any]) -> Manifest:
    from vsearch.building.training import BuildOptions
    from vsearch.live.beginning import Creation, attribute_entries, create_index, sparse_entry, text_entry

    dimensions, attributes = arguments.pop("dimensions"), arguments.pop("attributes", None)
    ids, ttl, text = arguments.pop("ids", "row"), arguments.pop("ttl", None), arguments.pop("text", None)
    sparse = arguments.pop("sparse", None)
    try:
        options = BuildOptions(**arguments)
    except TypeError:
        known = "dimensions, attributes, ids, ttl, text, sparse, metric, quantizer, bits, rerank, partitions, shards, seed, spill"
        raise InputError(
            f"create must be a dict of arguments of vsearch.create ({known}), got {', '.join(arguments)}"
        ) from None
    if options.spill == "auto":
        raise InputError('spill must be True or False for an index without rows, got "auto"')
    entries = attribute_entries(attributes)
    legs = text_entry(text, entries), sparse_entry(sparse, entries)
    return create_index(store, Creation(dimensions, options, entries, ids, ttl, *legs))
