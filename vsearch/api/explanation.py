"""Human-readable explanation of how a search was answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vsearch.search.engine.promise import uncovered
from vsearch.search.engine.stats import SearchStats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot


@dataclass(frozen=True)
class Explanation:
    """The plan of a query and its execution counts.

    Attributes
    ----------
    predicate : str or None
        The parsed predicate, as SQL.
    plan : dict
        Settings and sizes that determine the search.
    stats : SearchStats
        Counts and times per stage.
    notes : tuple of str
        Reasons why the tuned recall does not apply to this search.
    """

    predicate: str | None
    plan: dict[str, Any]
    stats: SearchStats
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "predicate": self.predicate,
            "plan": self.plan,
            "stats": self.stats.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        stats, ms = self.stats, self.stats.milliseconds
        queries = max(1, stats.queries)
        lines = [
            f"search of {stats.queries} queries, {stats.total_milliseconds:.2f} ms",
            f"  plan    {', '.join(f'{key}={value}' for key, value in self.plan.items())}",
            f"  route   {stats.partitions} partitions",
            (
                f"  mask    {self.predicate or 'no predicate'}: {stats.rows_masked} rows pass, "
                f"{stats.rows_rechecked} rechecked  ({ms['mask']:.2f} ms)"
            ),
            (
                f"  scan    {stats.partitions_visited / queries:.1f} partitions, {stats.rows_scanned / queries:.1f} rows a query"
                f"  ({ms['scan']:.2f} ms with route, refine and rerank)"
            ),
            f"  refine  {stats.rows_refined / queries:.1f} rows a query",
            f"  rerank  {stats.rows_reranked / queries:.1f} rows a query",
            f"  merge   ({ms['merge']:.2f} ms)",
            f"  read    {stats.bytes_read / queries:.0f} bytes a query, {stats.bytes_fetched} fetched from the store",
        ]
        lines += [f"  note    {note}" for note in self.notes]
        return "\n".join(lines)


def explain_search(
    snapshot: Snapshot, stats: SearchStats, k: int, where: Where, options: Mapping[str, Any]
) -> Explanation:
    """Explain a search of a snapshot that was made.

    Parameters
    ----------
    options : mapping
        Further arguments of `Index.search`.
    """
    settings = snapshot.settings
    plan: dict[str, Any] = {"k": k, "radius_factor": round(settings.radius_factor, 4)}
    plan |= {"error_sigmas": round(settings.error_sigmas, 4), "tail": round(settings.tail, 4)}
    plan |= {name: value for name, value in options.items() if not (value is None or value is False or value == ())}
    plan["code_bytes"] = list(snapshot.model.quantizer.stage_bytes)
    plan["rerank"] = snapshot.model.rerank
    predicate = sql_of(where)
    notes = uncovered(settings, k=k, filtered=predicate is not None, nprobe=options.get("nprobe"))
    return Explanation(predicate, plan, stats, notes)


def sql_of(where: Where) -> str | None:
    """A parsed predicate as SQL; None if it restricts nothing."""
    if where is None:
        return None
    from vsearch.predicates import parse, to_sql

    expression = parse(where)
    return None if expression is None else to_sql(expression)
