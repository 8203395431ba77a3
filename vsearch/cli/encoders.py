"""Commands about text encoders: compress, distill, info, evaluate, attach."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import vsearch
from vsearch.cli import options, output
from vsearch.errors import InputError

app = typer.Typer(help="Compress a text encoder and store it in an index.", no_args_is_help=True)

Folder = Annotated[str, typer.Argument(metavar="ENCODER", help="Folder that `compress` wrote.")]


@app.command()
def compress(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder that sentence-transformers saved.")],
    out: Annotated[str, typer.Argument(metavar="ENCODER", help="Folder to write.")],
    texts: Annotated[
        str, typer.Option(help="File of calibration texts, one per line; 256 texts like the queries are enough.")
    ],
    bits: Annotated[str, typer.Option(help="Bits per weight on disk: 8, 4, 3, 2, ternary or auto.")] = "8",
    table: Annotated[str | None, typer.Option(help="Bits per value of the token table; --bits by default.")] = None,
    quality: Annotated[
        float | None,
        typer.Option(help="Mean cosine to the model that --bits auto preserves on the texts. [default: 0.99]"),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers to keep: how many, or their numbers from 0, separated by commas.")
    ] = None,
    vocabulary: Annotated[
        int | None,
        typer.Option(help="Number of tokens to keep: single characters and the most frequent ones in the texts."),
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="File of texts for measuring the error, one per line.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compress a text encoder without training and report how close it is to the model."""
    chosen = {"weights": _read_bits(bits), "table": _read_bits(bits if table is None else table)}
    measured = None if holdout is None else _read_lines(holdout)
    encoder = vsearch.encoders.compress(
        model,
        _read_lines(texts),
        bits=chosen,
        quality=quality,
        layers=None if layers is None else _read_layers(layers),
        vocabulary=vocabulary,
        holdout=measured,
    )
    encoder.save(out)
    _print(encoder, out, as_json=as_json)


@app.command()
def distill(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder that sentence-transformers saved.")],
    out: Annotated[str, typer.Argument(metavar="ENCODER", help="Folder to write.")],
    texts: Annotated[str, typer.Option(help="File of training texts like the queries, one per line.")],
    preset: Annotated[str, typer.Option(help="Recipe: sdq8, mkq4 or xtc-ternary.")],
    steps: Annotated[int, typer.Option(help="Number of batches.")] = 2000,
    batch: Annotated[int, typer.Option(help="Texts per batch.")] = 32,
    layers: Annotated[
        str | None, typer.Option(help="Layers to keep: how many, or their numbers from 0; by default as in the recipe.")
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="File of texts by which the best state is chosen.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that keeps the state; if it exists, the training continues.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of the texts.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Compress a text encoder and train it to reproduce the vectors of the model; requires torch."""
    with output.progress() as report:
        encoder = vsearch.encoders.distill(
            model,
            _read_lines(texts),
            preset=preset,
            steps=steps,
            batch=batch,
            layers=None if layers is None else _read_layers(layers),
            holdout=None if holdout is None else _read_lines(holdout),
            checkpoint=checkpoint,
            seed=seed,
            progress=report,
        )
    encoder.save(out)
    _print(encoder, out, as_json=as_json)


@app.command()
def info(folder: Folder, as_json: options.AsJson = False) -> None:
    """Describe a compressed encoder."""
    _print(_load(folder), folder, as_json=as_json)


@app.command()
def evaluate(
    folder: Folder,
    texts: Annotated[str, typer.Option(help="File of texts like the queries to come, one per line.")],
    model: Annotated[str | None, typer.Option(help="Folder of the model that it was made from.")] = None,
    index: Annotated[
        str | None, typer.Option(metavar="INDEX", help="Index of vectors of that model, for recall@10 and --pairs.")
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="Parquet, CSV or TSV file with the columns query (a text) and id (a relevant row)."),
    ] = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Measure a compressed encoder: cosine to its model, recall@10 on an index, MRR@10 and nDCG@10 of pairs."""
    if model is None and pairs is None:
        raise InputError("pass --model, the folder of the model that the encoder was made from, or --pairs")
    opened = None if index is None else vsearch.open(index, **options.storage(endpoint, anonymous))
    report = vsearch.encoders.evaluate(
        folder, _read_lines(texts), model=model, index=opened, pairs=None if pairs is None else _read_pairs(pairs)
    )
    if as_json:
        output.print_json(report)
        return
    rows: list[dict[str, Any]] = [
        {"measure": "cosine to the model", "on": report.texts, "encoder": report.cosine, "model": 1.0},
        {"measure": "cosine, 1 % are below", "on": report.texts, "encoder": report.worst_cosine, "model": 1.0},
        {"measure": "recall@10 of the model's neighbors", "on": report.texts, "encoder": report.recall, "model": 1.0},
    ]
    for name, field in (("MRR@10", "mrr"), ("nDCG@10", "ndcg")):
        encoder_measure, model_measure = (
            getattr(ranking, field, None) for ranking in (report.ranking, report.model_ranking)
        )
        rows.append({"measure": name, "on": report.pairs, "encoder": encoder_measure, "model": model_measure})
    output.print_rows([row for row in rows if row["encoder"] is not None], folder)


@app.command()
def attach(
    url: options.Url,
    folder: Folder,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Store a compressed encoder in an index, so that it can be searched with --text; creates a new snapshot."""
    encoder = _load(folder)
    index = vsearch.open(url, **options.storage(endpoint, anonymous)).with_encoder(encoder)
    facts = {"snapshot": index.snapshot.manifest.snapshot, "bytes": encoder.report.total_bytes}
    output.print_result(facts, url, as_json=as_json)


def _load(folder: str) -> vsearch.encoders.CompressedEncoder:
    encoder = vsearch.encoders.load(folder)
    if not isinstance(encoder, vsearch.encoders.CompressedEncoder):
        raise InputError(f"{folder} holds an uncompressed model; compress it with `vsearch encoder compress`")
    return encoder


def _read_bits(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _read_layers(text: str) -> int | list[int]:
    """Parse --layers: one number is how many to keep, several are the numbers of the layers."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--layers must be a number, or numbers separated by commas, got {text!r}") from None
    return numbers if "," in text else numbers[0]


def _print(encoder: vsearch.encoders.CompressedEncoder, folder: str, *, as_json: bool) -> None:
    sizes = encoder.model.architecture
    facts: dict[str, Any] = {"dimensions": sizes.dimensions, "layers": sizes.layers, "tokens": sizes.tokens}
    facts |= {"length": sizes.length, "pooling": sizes.pooling, "prompt": sizes.prompt, **encoder.report.to_dict()}
    output.print_result(facts, folder, as_json=as_json)


def _read_pairs(path: str) -> list[tuple[str, Any]]:
    """Queries and ids of relevant rows."""
    from vsearch.building.inputs.tables import open_table

    table = open_table(str(options.existing(path)), "pairs")
    missing = [name for name in ("query", "id") if name not in table.schema.names]
    if missing:
        raise InputError(f"{path}: must have the columns query and id, got {', '.join(table.schema.names)}")
    pairs: list[tuple[str, Any]] = []
    for batch in table.read(["query", "id"]):
        pairs += zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
    return pairs


def _read_lines(path: str) -> list[str]:
    """The non-empty lines of a text file."""
    try:
        lines = Path(options.existing(path)).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the file must be UTF-8 text: {error}") from None
    return [line for line in lines if line.strip()]
