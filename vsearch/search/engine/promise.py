"""Whether the recall that settings were tuned to applies to a search."""

from __future__ import annotations

from vsearch.search.state.model import SearchSettings

TOLERANCE = 0.005  # of a recall measured with a few hundred queries


def uncovered(settings: SearchSettings, *, k: int, filtered: bool, nprobe: int | None) -> tuple[str, ...]:
    """Return the reasons why the tuned recall does not apply to a search, as sentences; none if it applies."""
    if nprobe is not None:
        return (f"nprobe={nprobe} replaces the tuned settings; recall(nprobe={nprobe}) measures its recall",)
    if settings.recall is None:
        return ("the recall of these settings was never measured; run tune()",)
    notes = []
    if settings.k is not None and k > settings.k:
        notes.append(
            f"the recall of {settings.recall:.3f} was measured for k={settings.k}; recall(k={k}) measures it for this k"
        )
    if settings.foreign_recall is None and filtered:
        notes.append(
            "the settings were tuned without filters; recall(where=...) measures the recall with this filter, "
            "tune() tunes for filters"
        )
    elif settings.foreign_recall is not None and settings.foreign_recall < settings.recall - TOLERANCE:
        notes.append(
            f"the recall of {settings.recall:.3f} is for queries similar to the rows; for others and with filters "
            f"the lowest recall measured is {settings.foreign_recall:.3f}; recall(queries, where=...) measures yours"
        )
    return tuple(notes)
