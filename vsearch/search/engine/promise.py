"""What the recall that settings were tuned to says about a search, and what it does not."""

from __future__ import annotations

from vsearch.search.state.model import SearchSettings

TOLERANCE = 0.005  # of a recall that was measured with some hundred queries


def uncovered(settings: SearchSettings, *, k: int, filtered: bool, nprobe: int | None) -> tuple[str, ...]:
    """Reasons why the tuned recall does not cover a search, as sentences; none where it does."""
    if nprobe is not None:
        return (f"nprobe={nprobe} takes the place of the tuned settings: recall(nprobe={nprobe}) measures it",)
    if settings.recall is None:
        return ("these settings were never measured: tune() does",)
    notes = []
    if settings.k is not None and k > settings.k:
        notes.append(f"the recall of {settings.recall:.3f} is that of k={settings.k}: recall(k={k}) measures this one")
    if settings.foreign_recall is None and filtered:
        notes.append("the settings were tuned without filters: recall(where=...) measures this one, tune() mends it")
    elif settings.foreign_recall is not None and settings.foreign_recall < settings.recall - TOLERANCE:
        notes.append(
            f"the recall of {settings.recall:.3f} is that of queries like the rows; for others, and under filters, the "
            f"lowest that was measured is {settings.foreign_recall:.3f}: recall(queries, where=...) measures yours"
        )
    return tuple(notes)
