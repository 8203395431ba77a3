"""Commands about relevance: evaluate an index by relevance judgments, train one with PQ codes on pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import vsearch
from vsearch.cli import inputs, options, output
from vsearch.errors import InputError


def evaluate(
    url: options.Url,
    queries: options.Queries,
    qrels: Annotated[str, typer.Option(help="Relevance judgments: a TREC or BEIR file.")],
    query_ids: Annotated[
        str | None, typer.Option(help="A .npy or text file with the id of each query; row numbers by default.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="Names separated by commas.")] = "ndcg@10,mrr@10,recall@100",
    where: options.Where = None,
    exact: options.Exact = False,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Measure how well an index ranks relevant documents."""
    vectors = inputs.read_queries(queries)
    names = None if query_ids is None else inputs.read_ids(str(options.existing(query_ids)))
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous))
    report = vsearch.evaluate(
        index,
        vectors,
        qrels,
        options.names(metrics),
        query_ids=names,
        where=options.condition(where),
        exact=exact,
    )
    output.print_result(report, as_json=as_json)


def train(
    url: options.Url,
    queries: Annotated[str, typer.Option(help="Training queries: a file of vectors.")],
    positives: Annotated[
        str,
        typer.Option(help="Relevant rows: Parquet with columns query and id, or .npy with one id per query."),
    ],
    validation_queries: Annotated[
        str | None, typer.Option(help="Queries for model selection; by default some are held out.")
    ] = None,
    validation_positives: Annotated[str | None, typer.Option(help="Relevant rows for these.")] = None,
    loss: Annotated[str | None, typer.Option(help="lambda, pairwise or softmax.")] = None,
    negatives: Annotated[str | None, typer.Option(help="live, static or batch.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Maximum number of passes over the queries.")] = None,
    adapter: Annotated[str | None, typer.Option(help="linear or none.")] = None,
    centroids: Annotated[bool, typer.Option("--centroids/--no-centroids", help="Train the centroids.")] = True,
    reassign: Annotated[bool, typer.Option("--reassign/--no-reassign", help="Recompute the codes if it helps.")] = True,
    refit: Annotated[bool, typer.Option("--refit/--no-refit", help="Fit the codes to the queries if it helps.")] = True,
    documents: Annotated[
        str | None, typer.Option(help="The vectors that the index was built from, for --refit and --reassign.")
    ] = None,
    document_ids: Annotated[str | None, typer.Option(help="Their ids, unless the index numbers its rows.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="File to write after each epoch, and to resume from.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random choices.")] = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Train an index with PQ codes so that relevant rows rank first; the result is a new snapshot."""
    if (validation_queries is None) != (validation_positives is None):
        raise InputError("--validation-queries and --validation-positives must be passed together")
    arguments: dict[str, Any] = options.not_none(
        loss=loss, negatives=negatives, epochs=epochs, adapter=adapter, checkpoint=checkpoint, seed=seed
    )
    if validation_queries is not None and validation_positives is not None:
        arguments["validation"] = (inputs.read_queries(validation_queries), _positives(validation_positives))
    if documents is not None:
        arguments["documents"] = str(options.existing(documents))
        arguments["document_ids"] = None if document_ids is None else inputs.read_ids(document_ids)
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    with output.progress() as report:
        trained = vsearch.jpq.train(
            index,
            inputs.read_queries(queries),
            _positives(positives),
            centroids=centroids,
            refit=refit,
            reassign=reassign,
            progress=report,
            **arguments,
        )
    facts = {"snapshot": trained.snapshot.manifest.snapshot, **trained.info()["training"]}
    output.print_result(facts, url, as_json=as_json)


def _positives(text: str) -> Any:
    path = Path(text)
    return inputs.read_ids(text) if path.suffix == ".npy" and path.is_file() else options.existing(text)
