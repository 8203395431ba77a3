"""Tune an index that changes: settings are found on one snapshot and committed on top of the newest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from vsearch.live.commits import Draft, commit_change
from vsearch.search.defaults import DEFAULT_K, DEFAULT_RECALL, tune_defaults

if TYPE_CHECKING:
    from vsearch.search.state.model import SearchSettings
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest


@dataclass(frozen=True)
class Retune:
    """Replace the search settings; of two concurrent ones, the later wins.

    Attributes
    ----------
    settings : SearchSettings
    rows : int
        Number of rows when they were found.
    changed : int
        Number of changes since the previous tuning at that time.
    """

    settings: SearchSettings
    rows: int
    changed: int
    kind: str = "tune"

    def resolve(self, snapshot: Snapshot) -> Draft:
        return Draft(change=self._change, plain=not snapshot.manifest.live)

    def _change(self, manifest: Manifest) -> Manifest:
        manifest = msgspec.structs.replace(manifest, settings=self.settings.to_entry())
        live = manifest.live
        if not live:
            return manifest
        left = max(0, live.changed - self.changed)
        return msgspec.structs.replace(manifest, live=msgspec.structs.replace(live, tuned_rows=self.rows, changed=left))


def commit_settings(snapshot: Snapshot, settings: SearchSettings) -> Snapshot:
    """Commit settings that were found on a snapshot; return the new snapshot.

    Raises
    ------
    ConflictError
        The index was rebuilt or retrained in the meantime.
    """
    live = snapshot.manifest.live
    operation = Retune(settings, snapshot.manifest.rows, live.changed if live else 0)
    _, after = commit_change(snapshot, operation)
    return after


def retune(snapshot: Snapshot) -> Snapshot:
    """Tune to the target of the current settings, and commit the result."""
    return commit_settings(snapshot, find_settings(snapshot))


def find_settings(snapshot: Snapshot) -> SearchSettings:
    """Find settings for the target of the current ones."""
    before = snapshot.settings
    if snapshot.manifest.documents is not None:
        from vsearch.multivector.tuning import CANDIDATE_RECALL, CANDIDATES, tune_documents

        return tune_documents(snapshot, before.target or CANDIDATE_RECALL, max(before.k or 0, CANDIDATES))
    recall = DEFAULT_RECALL if before.target is None else before.target
    return tune_defaults(snapshot, recall, before.k or DEFAULT_K)
