"""The command ``vsearch demo``: all steps on the bundled sample, from vectors and texts to filtered results."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import vsearch
from vsearch.cli import options, output
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.datasets import Dataset

SAMPLE = "wordnet-10k"
TARGET = 0.98  # recall to tune for, with one half of the queries; the other half measures it


@dataclass(frozen=True)
class Question:
    """One search of the demo: a text and a predicate. The vectors of held-out queries come with the sample."""

    text: str
    where: str | None


QUESTIONS = (
    Question("a transportation system for moving passengers or goods by air", None),
    Question(
        "a transportation system for moving passengers or goods by air", "lexname = 'noun.artifact' AND depth >= 7"
    ),
    Question("get or try to get into communication (with someone) by telephone", "pos = 'verb' AND has_example"),
    Question("English poet (1880-1958)", "is_instance AND lexname = 'noun.person'"),
    Question("molten rock in the earth's crust", "gloss_len BETWEEN 20 AND 60 AND lemma NOT LIKE 'm%'"),
    Question("a deep red garnet consisting of iron aluminum silicate", "tagcount > 50 OR polysemy IN (7, 9)"),
)

TYPED = (Question("a bird that cannot fly", None), Question("somebody who bakes bread", "pos = 'noun' AND depth >= 5"))
"""Texts that are not in the sample, so their vectors are computed by the encoder that comes with it."""


def demo(
    k: options.K = 5,
    text: Annotated[
        list[str] | None, typer.Option(help="Search for this text instead, with the encoder of the sample. Repeatable.")
    ] = None,
    where: Annotated[str | None, typer.Option(help="SQL predicate for the texts of --text.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep the index in this folder.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Build an index of the bundled sample and run a few filtered searches on it, or those for your own texts."""
    if where is not None and not text:
        raise InputError("--where requires --text")
    questions = [Question(words, where) for words in text] if text else [*QUESTIONS, *TYPED]
    sample = vsearch.datasets.load(SAMPLE)
    with tempfile.TemporaryDirectory(prefix="vsearch-demo-") as scratch:
        url = str(folder or Path(scratch) / SAMPLE)
        started = time.perf_counter()
        with output.progress() as report:
            index = vsearch.build(sample.vectors, url, attributes=sample.attributes, overwrite=True, progress=report)
        encoder = None if sample.encoder is None else vsearch.encoders.load(sample.encoder)
        if isinstance(encoder, vsearch.encoders.CompressedEncoder):
            index = index.with_encoder(encoder)
        seconds = time.perf_counter() - started
        index.tune(recall=TARGET, k=k, queries=sample.queries[::2])
        for question in questions:  # warm up: the first call may compile kernels
            index.search(sample.queries[:2], k=k, where=question.where, columns=("text",))
            index.search(question.text, k=k)
        answers = [_answer(index, sample, question, k) for question in questions]
        if as_json:
            output.print_json({"index": index.info(), "build_seconds": seconds, "searches": answers})
            return
        _print_index(index.info(), seconds)
        for answer in answers:
            _print_answer(answer)
    if folder is not None:
        typer.echo(f'The index is in {folder}; try: vsearch search {folder} --text "a bird of prey" --columns text')


def _answer(index: vsearch.Index, sample: Dataset, question: Question, k: int) -> dict[str, Any]:
    """Run one search; return its hits and cost, and the recall of other queries under the same predicate."""
    known = question.text in sample.query_texts
    query = sample.queries[sample.query_texts.index(question.text)] if known else question.text
    hits = index.search(query, k=k, where=question.where, columns=("text",))
    report = index.recall(sample.queries[1::2], k=k, where=question.where)
    return {
        "query": question.text,
        "where": question.where,
        "hits": hits.to_arrow().select(["rank", "id", "score", "text"]).to_pylist(),
        "rows_matching": hits.stats.rows_masked,
        "rows_scanned": hits.stats.rows_scanned,
        "bytes_read": hits.stats.bytes_read,
        "milliseconds": hits.stats.total_milliseconds,
        "recall": report.recall,
        "recall_queries": report.queries,
    }


def _print_index(info: dict[str, Any], seconds: float) -> None:
    output.console().print(
        f"Built an index of {info['rows']:,} glosses of WordNet, {info['dimensions']} dimensions each, "
        f"in {seconds:.1f} s:\n{info['bytes_per_vector']:.0f} bytes per vector, "
        f"{info['partitions']} partitions, {len(info['attributes'])} attributes; tuned to recall {TARGET}.\n"
    )


def _print_answer(answer: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("score", justify="right")
    table.add_column("text", overflow="fold")
    for hit in answer["hits"]:
        table.add_row(f"{hit['score']:.3f}", Text(hit["text"]))
    console = output.console()
    console.print(Text.assemble(("query  ", "bold"), answer["query"]), soft_wrap=True)
    console.print(Text.assemble(("where  ", "bold"), answer["where"] or "(no condition)"), soft_wrap=True)
    console.print(table)
    console.print(
        f"{answer['milliseconds']:.2f} ms, {output.in_bytes(answer['bytes_read'])} read, "
        f"{answer['rows_matching']:,} rows match, {answer['rows_scanned']:,} were scanned; "
        f"recall against exact search {answer['recall']:.3f} over {answer['recall_queries']} queries\n"
    )
