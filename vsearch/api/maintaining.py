"""What keeps an open index fast: merging, settings, and a new model where it has outgrown the old one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vsearch.api.opened import OpenedIndex
from vsearch.checks import is_number
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.live.commits import Commit
    from vsearch.live.optimizing import OptimizeReport
    from vsearch.quantizers.pq import PQ


class MaintainableIndex(OpenedIndex):
    """What has to be done now and then to an index that changes."""

    def optimize(
        self,
        budget_seconds: float | None = None,
        retune: bool | str = "auto",
        *,
        force: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> OptimizeReport:
        """Do what keeps the index fast and small, where it is due: a second call does nothing.

        Deltas are folded, rows merged into runs, removed ones and old snapshots dropped, and settings found anew where the rows
        are others than those they were found for. Codes are copied, so no score changes. Partitions of over four times the mean are
        split where rows are merged, and rows that come to a new one are encoded anew from their rerank codes; without these
        nothing is split. The index is searched and changed meanwhile; each step is one commit, and one that is killed leaves the
        index as it was.

        Parameters
        ----------
        budget_seconds : float, optional
            No further step is begun after so long.
        retune : {"auto", True, False}
            Find settings anew: where more than a tenth of the rows changed or they lie elsewhere, always, or never.
        force : bool
            Merge all that can be merged.
        progress : callable, optional
            Told ``(stage, done, total)``.

        Returns
        -------
        OptimizeReport

        Raises
        ------
        InputError
        ConflictError
            The index was replaced or trained anew meanwhile.
        """
        from vsearch.live.maintenance import maintain

        if not (retune == "auto" or isinstance(retune, bool)):
            raise InputError(f"retune must be 'auto', True or False, got {retune!r:.100}")
        if budget_seconds is not None and not (is_number(budget_seconds) and budget_seconds >= 0):
            raise InputError(f"budget_seconds must be a number of seconds, got {budget_seconds!r:.100}")
        report, after = maintain(self._snapshot, budget_seconds, retune=retune, force=force, progress=progress)
        self._adopt(after)
        return report

    def retrain(
        self,
        vectors: object | None = None,
        ids: object | None = None,
        *,
        quantizer: str | PQ = "same",
        bits: float | None = None,
        rerank: str | None = "same",
        partitions: int | None = None,
        shards: int | None = None,
        seed: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Commit:
        """Build the index anew beside itself, with partitions and codes for the rows that it has now, and go on to it.

        It is searched and changed meanwhile: what others commit is encoded with the new model when that is committed. Rows, ids,
        attributes and the metric stay.

        Parameters
        ----------
        vectors : array, file or table, optional
            Those of all rows, as `vsearch.build` takes them, with `ids`. By default those that the index stores for reranking,
            which int8 codes round a little each time.
        ids : ids, optional
            Those of `vectors`; row numbers by default.
        quantizer, bits, rerank
            See `vsearch.build`; as they are by default.
        partitions, shards : int, optional
            By default partitions for so many rows, and as many shards as now.
        seed : int, optional
        progress : callable, optional
            Told ``(stage, done, total)``.

        Raises
        ------
        InputError
            An option is not usable, the index does not store its vectors (PQ without rerank codes) and some are not given, or
            `vsearch.jpq` has trained it.
        ConflictError
            The index was built or trained anew meanwhile.
        """
        from vsearch.building.inputs.rows import Given
        from vsearch.live.optimizing import silent
        from vsearch.live.options import options_of
        from vsearch.live.retraining import retrain

        if self._snapshot.manifest.documents is not None:
            raise InputError("indexes of multi-vector documents cannot be trained anew: build the index again")
        snapshot = self._snapshot
        options = options_of(snapshot, quantizer, bits, rerank, partitions, shards, seed)
        commit, after = retrain(snapshot, options, vectors, Given(ids=ids), progress=progress or silent)
        self._adopt(after)
        return commit
