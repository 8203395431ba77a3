"""Output of `bench.documents`: targets, tables and the plot."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import report
from bench.documents_variants import Bench, Row

HEADER = (
    "",
    "nDCG@10",
    "% of exact",
    "recall@10",
    "exact top 10 kept",
    "bytes a document",
    "float16 /",
    "float32 /",
    "all documents, ms",
    "search, ms",
    "search nDCG@10",
    "exact top 10 in candidates",
)


def write(bench: Bench, absent: str | None, out: Path) -> None:
    """Write the section to RESULTS.md and draw the plot."""
    tokens, rows = bench.tokens, bench.rows
    exact, all_bytes = rows[0], tokens.float16_bytes
    table = report.table(HEADER, [_line(row, exact, all_bytes) for row in rows])
    two = next(row for row in rows if row.name == "K=256 + 2 bit")
    parts = report.table(
        ["part of K=256 + 2 bit", "bytes a document"],
        [(name, f"{size / (tokens.documents if 'model' in name else 1):,.0f}") for name, size in two.parts.items()],
    )
    stages = report.table(
        ["candidates", "reranked", "exact top 10 among them", "nDCG@10", "ms a query"],
        [
            (stage.name, stage.candidates, f"{stage.contained:.3f}", report.share(stage.ndcg), stage.milliseconds)
            for stage in bench.stages
        ],
    )
    facts = [
        f"- data: {tokens.name}: {tokens.documents} documents, {len(tokens.vectors):,} vectors, {tokens.vectors.shape[1]} d",
        f"- queries: {len(tokens.queries)}, one relevant document each",
        f"- machine: {report.machine()}",
        "- times: one query at a time, one thread, processor time; the best of some repetitions, the median query",
        "- bytes: all that a search may read: codes, factors, lengths, encodings, ids, checksums; the model apart",
        "- nDCG@10 by codes: all documents ranked by them; a search reranks 128 candidates",
        f"- versions: {report.versions(['vsearch', 'numpy'])}",
        f"- date: {dt.datetime.now(dt.UTC):%Y-%m-%d}",
    ]
    text = [
        f"## Documents: {tokens.name}",
        "\n".join(facts),
        _targets(bench),
        table,
        parts,
        stages,
        report.absences({} if absent is None else {"fast-plaid": absent}),
        f"![quality against bytes](plots/documents-{tokens.name}.png)",
    ]
    report.replace(out / "RESULTS.md", f"documents {tokens.name}", "\n\n".join(text))
    _plot(bench, out)


def _line(row: Row, exact: Row, full_bytes: float) -> tuple[object, ...]:
    return (
        row.name,
        report.share(row.ndcg),
        f"{100 * row.ndcg / exact.ndcg:.1f}",
        report.share(row.recall),
        f"{row.overlap:.3f}",
        f"{row.bytes:,.0f}",
        f"{full_bytes / row.bytes:.1f}",
        f"{2 * full_bytes / row.bytes:.1f}",
        row.exhaustive,
        row.searched,
        None if row.searched_ndcg is None else report.share(row.searched_ndcg),
        None if row.contained is None else f"{row.contained:.3f}",
    )


def _targets(bench: Bench) -> str:
    """Targets and results."""
    rows, half = bench.rows, bench.tokens.float16_bytes
    by_name = {row.name: row for row in rows}
    exact = rows[0]
    lines: list[tuple[str, str, str, str]] = []

    def quality(target: str, row: Row, share: float, least: float, full_bytes: float, kind: str) -> None:
        low, high = share_interval(row.gains, exact.gains)
        ratio = row.ndcg / exact.ndcg
        result = f"{100 * ratio:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f}) at 1/{full_bytes / row.bytes:.1f} of {kind}"
        lines.append((target, row.name, result, _verdict(ratio >= share and full_bytes / row.bytes >= least)))

    quality("99 % of exact nDCG@10 at 1/7 of float16", by_name["K=256 + 2 bit"], 0.99, 7, half, "float16")
    quality("98.5 % at 1/13 of float16", by_name["K=256 + 1 bit"], 0.985, 13, half, "float16")
    small = [row for row in rows if row.parts and 2 * half / row.bytes >= 32]
    best = max(small, key=lambda row: row.ndcg)
    quality("97 % at 1/32 of float32", best, 0.97, 32, 2 * half, "float32")
    two = by_name["K=256 + 2 bit"]
    contained = two.contained or 0.0
    lines.append(
        (
            "98 % of the exact top 10 among the reranked candidates",
            two.name,
            f"{100 * contained:.1f} % among 128 of {bench.tokens.documents} documents",
            _verdict(contained >= 0.98),
        )
    )
    for row in (two, by_name["K=256 + 1 bit"]):
        if row.searched and row.exact:
            comparison = (
                f"{row.exact / row.searched:.1f} times: {row.searched:.2f} ms, by float32 in memory {row.exact:.2f} ms"
            )
            faster = _verdict(row.exact >= 10 * row.searched)
            lines.append(("10 times faster than exhaustive MaxSim", row.name, comparison, faster))
    peers = [row for row in rows if row.group == "fast-plaid" and row.searched]
    if peers and two.searched:
        highest = max(row.ndcg for row in peers)
        peer = min((row for row in peers if row.ndcg >= highest - 1e-9), key=lambda row: row.searched or 0)
        comparison = (
            f"{two.searched:.2f} ms at {two.searched_ndcg:.4f}; {peer.name}: {peer.searched:.2f} ms at {peer.ndcg:.4f}"
        )
        met = two.searched < (peer.searched or 0) and (two.searched_ndcg or 0) >= peer.ndcg
        lines.append(("faster than fast-plaid at equal nDCG@10", two.name, comparison, _verdict(met)))
    return report.table(["wanted", "by", "found", ""], lines)


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def share_interval(values: NDArray[np.float64], exact: NDArray[np.float64]) -> tuple[float, float]:
    """95% interval of the ratio of two means over the same queries, by resampling queries."""
    draws = np.random.default_rng(0).integers(0, len(values), (4000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1) / exact[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _plot(bench: Bench, out: Path) -> None:
    groups: dict[str, list[Row]] = {}
    for row in bench.rows:
        groups.setdefault(row.group, []).append(row)
    curves = []
    for group, members in groups.items():
        ordered = sorted(members, key=lambda row: row.bytes)
        ordered = ordered[:1] if group == "exact" else ordered
        xs, ys = [row.bytes for row in ordered], [row.ndcg for row in ordered]
        curves.append(report.Curve(group, xs, ys, group.startswith("K=256 +")))
    tokens = bench.tokens
    report.plot(
        out / "plots" / f"documents-{tokens.name}.png",
        curves,
        title=f"Multi-vector documents: {tokens.documents} documents, {len(tokens.queries)} queries",
        x="bytes a document",
        y="nDCG@10",
        log="x",
    )
