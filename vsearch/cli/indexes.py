"""Commands that build or describe an index: build, info, datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import vsearch
from vsearch.cli import inputs, options, output
from vsearch.cli.recipes import read_recipe
from vsearch.errors import InputError
from vsearch.quantizers.registry import quantizer_names


def build(
    embeddings: Annotated[
        str,
        typer.Argument(
            help="Vectors: .npy, .fvecs, .bvecs, .fbin, .u8bin or .hdf5; or a table with a vector column: .parquet or "
            ".arrow, or a folder or glob of these; or s3://bucket/prefix with such files. Other columns become the attributes."
        ),
    ],
    url: Annotated[str, typer.Argument(metavar="INDEX", help="Folder or URL to write the index to.")],
    attributes: Annotated[str | None, typer.Option(help="Parquet or CSV file, one row per vector.")] = None,
    ids: Annotated[
        str | None, typer.Option(help="A .npy file, a text file with one id per line, or a column of the attributes.")
    ] = None,
    vectors: Annotated[str | None, typer.Option(help="Vector column, if several could be it.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Id column.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns that become attributes, separated by commas; by default all others.")
    ] = None,
    missing: Annotated[
        str | None, typer.Option(help="Rows or documents without a usable vector: error or skip.")
    ] = None,
    packed: Annotated[bool, typer.Option("--packed", help="Vectors are bits, packed eight to a byte.")] = False,
    text_column: Annotated[
        str | None,
        typer.Option(help="Embed this column of texts with --encoder; the input is then a table, or CSV or TSV."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Folder of a text encoder, which the index then holds: compressed, or a model.")
    ] = None,
    spool: Annotated[
        str | None,
        typer.Option(help="Folder for vectors of texts, from which a killed build resumes. Default: INDEX.vectors."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Build options from a named recipe (tiny, small, balanced, exact) or a .toml file."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="cosine, ip, l2, or hamming for bits.")] = None,
    quantizer: Annotated[str | None, typer.Option(help=f"{quantizer_names()}.")] = None,
    bits: Annotated[float | None, typer.Option(help="Average bits per dimension.")] = None,
    rerank: Annotated[str | None, typer.Option(help="int8, float16, float32 or none.")] = None,
    partitions: Annotated[int | None, typer.Option(min=1, help="Coarse partitions.")] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Shards.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random choices.")] = None,
    spill: Annotated[
        str | None,
        typer.Option(help="Store rows in second partitions too: on, off, or auto, which compares the costs."),
    ] = None,
    documents: Annotated[
        bool,
        typer.Option("--documents", help="Build an index of multi-vector documents; see the options marked Documents."),
    ] = False,
    offsets: Annotated[
        str | None,
        typer.Option(help="Documents: .npy with the start of each; without it, a table with lists of vectors."),
    ] = None,
    saliency: Annotated[str | None, typer.Option(help="Documents: .npy with a number per vector.")] = None,
    keep: Annotated[float | None, typer.Option(help="Documents: fraction of the vectors to keep, by saliency.")] = None,
    pool: Annotated[float | None, typer.Option(help="Documents: merge this many similar vectors into one.")] = None,
    codebook: Annotated[int | None, typer.Option(help="Documents: number of centroids; up to 256 take a byte.")] = None,
    residual_bits: Annotated[int | None, typer.Option(help="Documents: 0, 1, 2 or 4 per dimension.")] = None,
    binary: Annotated[bool, typer.Option("--binary", help="Documents: compare centroid numbers only.")] = False,
    candidates: Annotated[str | None, typer.Option(help="Documents: fde or lists.")] = None,
    dimensions: Annotated[
        int | None, typer.Option(help="Documents: maximum dimensions of the encodings for the candidate search.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Documents: keep the original vectors as float16 or float32.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="Attribute whose words `search --words` searches, as NAME or NAME=WEIGHT (may be repeated).",
            metavar="COLUMN",
        ),
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option(
            help="The same for an attribute of lists of strings, which are taken as words unchanged (may be repeated).",
            metavar="COLUMN",
        ),
    ] = None,
    phrases: Annotated[
        bool, typer.Option("--phrases", help="Store the positions of words, for phrases in quotes in --words.")
    ] = False,
    sparse: Annotated[
        str | None, typer.Option(help="Attribute of maps, or JSON objects, with weights of terms.", metavar="COLUMN")
    ] = None,
    ttl: Annotated[
        str | None, typer.Option(help="Attribute with the expiry time of each row: timestamp, date or seconds.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Build on a dask cluster: the address of its scheduler, or local:2 for processes of this machine. "
            "The same command resumes an interrupted build.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing index.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Predict size, memory and time without writing.")] = False,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Build an index from vectors and a table of attributes."""
    arguments: dict[str, Any] = read_recipe(recipe) if recipe else {}
    arguments |= options.not_none(
        metric=metric, quantizer=quantizer, bits=bits, rerank=rerank, partitions=partitions, shards=shards, seed=seed
    )
    if spill is not None:
        arguments["spill"] = {"on": True, "off": False}.get(spill, spill)
    if arguments.get("rerank") == "none":
        arguments["rerank"] = None
    arguments |= options.not_none(vectors=vectors, id=id, missing=missing, packed=True if packed else None, ttl=ttl)
    if text or tokens:
        arguments["text"] = _text_columns(text or [], tokens or [], phrases=phrases)
    elif phrases:
        raise InputError("--phrases requires --text or --tokens")
    if sparse is not None:
        arguments["sparse"] = sparse
    if columns is not None:
        if attributes is not None:
            raise InputError(
                "--columns selects from the table of the vectors, --attributes names another; pass only one"
            )
        arguments["attributes"] = list(options.names(columns))
    if attributes is not None:
        arguments["attributes"] = str(options.existing(attributes))
    if ids is not None:
        arguments["ids"] = inputs.read_ids(ids)
    document_options = options.not_none(
        offsets=offsets,
        saliency=saliency,
        keep=keep,
        pool=pool,
        codebook=codebook,
        residual_bits=residual_bits,
        candidates=candidates,
        dimensions=dimensions,
        store=store,
        binary=True if binary else None,
    )
    if documents:
        arguments |= document_options
        if "vectors" in arguments:
            arguments["column"] = arguments.pop("vectors")
        _check_documents(arguments, dry_run=dry_run)
    elif document_options:
        raise InputError(f"--{next(iter(document_options)).replace('_', '-')} requires --documents")
    for name, value in (("--text", text), ("--tokens", tokens), ("--sparse", sparse)):
        if value and documents:
            raise InputError(f"{name} cannot be combined with --documents")
    texts = options.not_none(text_column=text_column, encoder=encoder, spool=spool)
    if texts and (dry_run or documents):
        raise InputError(
            f"--{next(iter(texts)).replace('_', '-')} cannot be combined with {'--dry-run' if dry_run else '--documents'}"
        )
    arguments |= texts
    if cluster is not None:
        if dry_run:
            raise InputError("--cluster cannot be combined with --dry-run")
        arguments["client"] = cluster
    if dry_run:
        plan = vsearch.plan(embeddings, **arguments)
        output.print_result(plan, "predicted", as_json=as_json)
        return
    with output.progress() as report:
        arguments |= {"overwrite": overwrite, "progress": report}
        if documents:
            arguments |= options.storage(endpoint, anonymous)
            index = vsearch.build_documents(embeddings, arguments.pop("offsets", None), url, **arguments)
        else:
            index = vsearch.build(embeddings, url, **_storages(arguments, embeddings, url, endpoint, anonymous))
    _describe(index, url, as_json=as_json)


def info(
    url: options.Url,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Describe an index: contents, settings and bytes per vector."""
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous))
    _describe(index, url, as_json=as_json)


def datasets(
    name: Annotated[str | None, typer.Argument(help="Name of a dataset; without it, the datasets are listed.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the dataset to this folder, as files that build reads.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the bundled datasets, describe one, or write one to files."""
    if name is None:
        if save is not None:
            raise InputError("--save requires the name of a dataset")
        listed = [{"name": dataset} for dataset in vsearch.datasets.names()]
        output.print_result(listed, as_json=as_json)
        return
    sample = vsearch.datasets.load(name)
    facts: dict[str, Any] = {
        "name": sample.name,
        "rows": len(sample.vectors),
        "dimensions": sample.vectors.shape[1],
        "queries": len(sample.queries),
        "attributes": {field.name: str(field.type) for field in sample.attributes.schema},
    }
    if save is not None:
        facts["files"] = [str(path) for path in _save(sample, save)]
    output.print_result(facts, as_json=as_json)


def _text_columns(texts: list[str], tokens: list[str], *, phrases: bool) -> dict[str, vsearch.TextColumn]:
    """The text columns of --text and of --tokens."""
    weighted = {name: (weight, False) for name, weight in _weights(texts, "--text").items()}
    for name, weight in _weights(tokens, "--tokens").items():
        if name in weighted:
            raise InputError(f"a column must be in --text or --tokens, got {name!r:.100} in both")
        weighted[name] = weight, True
    return {
        name: vsearch.TextColumn(weight=weight, phrases=phrases, tokens=has_tokens)
        for name, (weight, has_tokens) in weighted.items()
    }


def _weights(columns: list[str], option: str) -> dict[str, float]:
    """The weights of text columns, given as NAME or NAME=WEIGHT."""
    weights: dict[str, float] = {}
    for column in columns:
        name, equals, weight = column.rpartition("=")
        try:
            weights[name if equals else column] = float(weight) if equals else 1.0
        except ValueError:
            raise InputError(f"{option} must be NAME or NAME=WEIGHT, got {column!r:.100}") from None
    return weights


def _check_documents(arguments: dict[str, Any], *, dry_run: bool) -> None:
    """Refuse build options that document indexes do not support."""
    unknown = [name for name in ("metric", "quantizer", "rerank", "partitions", "packed", "ttl") if name in arguments]
    if dry_run or unknown:
        raise InputError(f"--{'dry-run' if dry_run else unknown[0]} cannot be combined with --documents")


def _storages(
    arguments: dict[str, Any], source: str, url: str, endpoint: str | None, anonymous: bool
) -> dict[str, Any]:
    """Add the storage options to arguments: they are for the index, or for the source if only that is a URL."""
    storage = options.storage(endpoint, anonymous)
    if storage and "://" in source and "://" not in url:
        return arguments | {"source_storage": storage}
    return arguments | storage


def _describe(index: vsearch.Index, url: str, *, as_json: bool) -> None:
    output.print_result(index.info(), url, as_json=as_json)


def _save(sample: vsearch.datasets.Dataset, folder: Path) -> list[Path]:
    """Write a dataset as files with its license; return the paths in the order written."""
    import numpy as np
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    near = sample.neighbors
    arrays: dict[str, np.ndarray] = {"base": sample.vectors, "queries": sample.queries, "neighbours": near}
    arrays["positives"] = near[:, 0]  # relevance for training and evaluation: the nearest row counts as relevant
    judgments = [f"{query}\t{row}\t1\n" for query, rows in enumerate(near[:, :10].tolist()) for row in rows]
    for stem, array in arrays.items():
        np.save(folder / f"{stem}.npy", array)
    pq.write_table(sample.attributes, folder / "attributes.parquet")
    (folder / "qrels.tsv").write_text("query\tdocument\tgrade\n" + "".join(judgments), encoding="utf-8")
    (folder / "queries.txt").write_text("\n".join(sample.query_texts) + "\n", encoding="utf-8")
    (folder / "LICENSE").write_text(sample.license, encoding="utf-8")
    return [
        *(folder / f"{stem}.npy" for stem in arrays),
        *(folder / n for n in ("attributes.parquet", "qrels.tsv", "queries.txt", "LICENSE")),
    ]
