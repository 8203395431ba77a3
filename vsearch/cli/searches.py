"""Commands that read an index: search, explain, recall, tune, get."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import vsearch
from vsearch.cli import inputs, options, output, plots
from vsearch.errors import InputError


def search(
    url: options.Url,
    queries: Annotated[str | None, options.QUERIES] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A text to search for, if the index holds an encoder (may be repeated).")
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option(
            help='Words to search in the text columns: word +must -not prefix* "a phrase" column:word, or a JSON object of '
            "clauses (may be repeated)."
        ),
    ] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Search the words of --text as well.")] = False,
    fusion: Annotated[
        str | None, typer.Option(help="How rankings by vectors and words are fused: rrf or weighted.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of vectors and words, such as 0.7,0.3.")] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Number of candidates by vectors, and by words.")] = None,
    leg: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=QUERY", help="A query of another leg of the index, as JSON or text, alone or with vectors."
        ),
    ] = None,
    k: options.K = 10,
    where: options.Where = None,
    row: options.Row = None,
    nprobe: options.Nprobe = None,
    columns: options.Columns = None,
    exact: options.Exact = False,
    offset: options.Offset = 0,
    min_score: Annotated[
        float | None, typer.Option(help="Leave out rows with a lower score (l2: farther away).")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which the search gives up.")] = None,
    offsets: Annotated[
        str | None,
        typer.Option(help="Documents: .npy with the start of each query; without it, the file is one query."),
    ] = None,
    candidates: Annotated[str | None, typer.Option(help="Documents: how many to rerank, or all.")] = None,
    matches: Annotated[
        bool, typer.Option("--matches", help="Documents: print which document vector each query vector matched.")
    ] = False,
    query_keep: Annotated[
        float | None, typer.Option(help="Documents: fraction of a query's vectors to use, by saliency.")
    ] = None,
    query_saliency: Annotated[str | None, typer.Option(help="Documents: .npy with a number per query vector.")] = None,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
    cache: options.Cache = None,
    cache_bytes: options.CacheBytes = None,
) -> None:
    """Find the rows nearest to each query among those that satisfy a predicate."""
    if (queries is not None) + bool(text) > 1 or not (queries is not None or text or words or leg):
        raise InputError(
            "pass either QUERIES, a file of vectors or one vector as JSON, or --text, each with or without --words or --leg, or one "
            "of these alone"
        )
    fusing: dict[str, Any] = options.not_none(
        text=options.text_queries(words) or None,
        hybrid=hybrid or None,
        fusion=fusion,
        weights=_pair(weights),
        depth=depth,
    )
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous, cache, cache_bytes))
    document_options = options.not_none(
        offsets=offsets,
        candidates=candidates,
        matches=True if matches else None,
        query_keep=query_keep,
        query_saliency=query_saliency,
    )
    if leg is not None:
        unsupported = {**document_options, **options.not_none(min_score=min_score)}
        unsupported |= options.not_none(words=words or None, hybrid=hybrid or None)
        if unsupported:
            raise InputError(f"{_flag(unsupported)} cannot be combined with --leg")
        vectors = inputs.read_queries(queries, row) if queries is not None else text
        name, query = inputs.read_leg_query(leg)
        best = index.search_leg(
            name,
            query,
            k,
            options.condition(where),
            options.names(columns),
            query_vectors=vectors,
            nprobe=nprobe,
            exact=exact,
            timeout=timeout,
            offset=offset,
            **fusing,
        )
        output.print_hits(best, as_json=as_json)
        return
    if words and queries is None and not text:
        fusing.pop("text")
        unsupported = {**document_options, **options.not_none(row=row, nprobe=nprobe, min_score=min_score), **fusing}
        if unsupported or exact:
            raise InputError(f"{_flag(unsupported) if unsupported else '--exact'} cannot be combined with --words")
        worded = index.search_text(
            options.text_queries(words),
            k,
            options.condition(where),
            options.names(columns),
            timeout=timeout,
            offset=offset,
        )
        output.print_hits(worded, as_json=as_json)
        return
    if index.has_documents:
        unsupported = options.not_none(nprobe=nprobe, min_score=min_score, words=words or None)
        unsupported |= {name: value for name, value in fusing.items() if name != "text"}
        if unsupported:
            raise InputError(f"{_flag(unsupported)} is not supported by an index of documents")
        if queries is None:
            raise InputError("--text is not supported by an index of documents; pass QUERIES")
        document_queries, saliency = inputs.read_document_queries(queries, offsets, row, query_saliency)
        document_hits = index.search_documents(
            document_queries,
            k=k,
            where=options.condition(where),
            candidates=int(candidates) if candidates and candidates.isdigit() else candidates,
            query_saliency=saliency,
            matches=matches,
            exact=exact,
            columns=options.names(columns),
            timeout=timeout,
            offset=offset,
            **options.not_none(query_keep=query_keep),
        )
        output.print_hits(document_hits, as_json=as_json)
        return
    if document_options:
        raise InputError(
            f"{_flag(document_options)} requires an index of multi-vector documents; this one has one vector per row"
        )
    if text and row is not None:
        raise InputError("--row requires a file of queries")
    hits = index.search(
        inputs.read_queries(queries, row) if queries is not None else text,
        k=k,
        where=options.condition(where),
        nprobe=nprobe,
        columns=options.names(columns),
        exact=exact,
        min_score=min_score,
        timeout=timeout,
        offset=offset,
        **fusing,
    )
    output.print_hits(hits, as_json=as_json)


def explain(
    url: options.Url,
    queries: options.Queries,
    k: options.K = 10,
    where: options.Where = None,
    row: options.Row = None,
    nprobe: options.Nprobe = None,
    exact: options.Exact = False,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
    cache: options.Cache = None,
    cache_bytes: options.CacheBytes = None,
) -> None:
    """Run a search and print its plan and its counts per stage."""
    vectors = inputs.read_queries(queries, row)
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous, cache, cache_bytes))
    explained = index.explain(vectors, k=k, where=options.condition(where), nprobe=nprobe, exact=exact)
    if as_json:
        output.print_json(explained)
    else:
        typer.echo(str(explained))


def recall(
    url: options.Url,
    queries: options.QueryFile = None,
    k: options.K = 10,
    where: options.Where = None,
    sample: Annotated[int, typer.Option(min=1, help="Number of stored rows to sample if no queries are given.")] = 100,
    truth: Annotated[
        str | None, typer.Option(help=".npy or .ivecs file of the expected ids, one row per query.")
    ] = None,
    nprobe: options.Nprobe = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Measure the rows with at least this score (l2: at most this distance), up to k."),
    ] = None,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
    cache: options.Cache = None,
    cache_bytes: options.CacheBytes = None,
) -> None:
    """Measure recall against exhaustive search, or against a given ground truth."""
    vectors = None if queries is None else inputs.read_queries(queries)
    expected = None if truth is None else inputs.read_truth(truth)
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous, cache, cache_bytes))
    report = index.recall(
        vectors,
        k=k,
        where=options.condition(where),
        sample=sample,
        truth=expected,
        **options.not_none(nprobe=nprobe, min_score=min_score),
    )
    output.print_result(report, as_json=as_json)


def tune(
    url: options.Url,
    recall: Annotated[float, typer.Option(min=0.0, max=1.0, help="Recall to reach.")] = 0.95,
    k: options.K = 10,
    queries: options.QueryFile = None,
    where: options.Where = None,
    plot: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw recall against cost with the new settings: .png, .svg or .pdf."),
    ] = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
) -> None:
    """Find and store the cheapest settings that reach a recall; searches then use them."""
    if plot is not None:
        plots.check_file(plot)
    vectors = None if queries is None else inputs.read_queries(queries)
    index = vsearch.open(url, **options.storage(endpoint, anonymous))
    report = index.tune(recall=recall, k=k, queries=vectors, where=options.condition(where))
    if plot is not None:
        plots.save(plot, lambda: plots.opened(index).plot_recall(vectors, k, options.condition(where)))
    output.print_result(report, as_json=as_json)


def get(
    url: options.Url,
    ids: Annotated[list[str], typer.Argument(help="Ids of the rows.")],
    columns: options.Columns = None,
    snapshot: options.Snapshot = None,
    as_json: options.AsJson = False,
    endpoint: options.Endpoint = None,
    anonymous: options.Anonymous = False,
    cache: options.Cache = None,
    cache_bytes: options.CacheBytes = None,
) -> None:
    """Print rows by id."""
    index = vsearch.open(url, snapshot, **options.storage(endpoint, anonymous, cache, cache_bytes))
    row_ids = inputs.typed_ids(index.info()["id_type"], ids)
    rows = index.get(row_ids, columns=options.names(columns) or None).to_pylist()
    if as_json:
        output.print_json(rows)
        return
    for row in rows:
        output.print_facts(row)


def _pair(weights: str | None) -> tuple[float, ...] | None:
    """The numbers of --weights."""
    if weights is None:
        return None
    try:
        return tuple(float(weight) for weight in weights.split(","))
    except ValueError:
        raise InputError(f"--weights must be two numbers separated by a comma, got {weights!r:.100}") from None


def _flag(unsupported: dict[str, Any]) -> str:
    """The command-line form of the first of some options."""
    return f"--{next(iter(unsupported)).replace('_', '-')}"
