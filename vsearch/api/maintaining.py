"""Maintenance of an open index: merging, tuning, and retraining when the data have outgrown the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vsearch.api.opened import OpenedIndex
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.live.commits import Commit
    from vsearch.live.optimizing import OptimizeReport
    from vsearch.quantizers.pq import PQ


class MaintainableIndex(OpenedIndex):
    """Maintenance of an index that changes."""

    def optimize(
        self,
        budget_seconds: float | None = None,
        retune: bool | str = "auto",
        *,
        force: bool = False,
        client: object | None = None,
        storage: Mapping[str, object] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> OptimizeReport:
        """Run pending maintenance; a second call does nothing.

        Folds deltas, merges rows into runs, drops removed rows and old snapshots, and tunes the settings again if the rows have
        changed. Codes are copied, so scores do not change. Where rows are merged, partitions of more than four times the mean
        size are split, and the rows that move to a new partition are encoded again from their rerank codes; without rerank
        codes nothing is split. The index can be searched and changed in the meantime; each step is one commit, and a step that
        is killed leaves the index as it was.

        Parameters
        ----------
        budget_seconds : float, optional
            Time limit. A step starts only if it is expected to end within it, judging by the size of its files, and is abandoned
            without a change if it still runs after that: a merge before its next shard, a training before its next stage. So it
            may be exceeded by the time for one of these. `OptimizeReport.postponed` lists what did not fit.
        retune : {"auto", True, False}
            Tune the settings again: if more than a tenth of the rows changed or the data moved, always, or never.
        force : bool
            Merge everything that can be merged.
        client : distributed.Client, address, "local" or "local:<workers>", optional
            Merge and tune by tasks on a dask cluster, one for each shard, with the same result; an interrupted
            optimization resumes if it is started again.
        storage : mapping, optional
            With `client`: options with which workers open the index; see `append`.
        progress : callable, optional
            Called with ``(stage, done, total)``.

        Returns
        -------
        OptimizeReport

        Raises
        ------
        InputError
            An option is invalid.
        ConflictError
            The index was rebuilt or retrained in the meantime.
        """
        from vsearch.live.maintenance import check_options, maintain

        check_options(budget_seconds, retune)
        if client is not None:
            from vsearch.api.cluster_changes import optimize_on_cluster

            report, after = optimize_on_cluster(
                self._snapshot,
                budget_seconds,
                retune=retune,
                force=force,
                client=client,
                storage=storage,
                progress=progress,
            )
            self._adopt(after)
            return report
        if storage is not None:
            raise InputError("storage is only available with client=")
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
        client: object | None = None,
        storage: Mapping[str, object] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Commit:
        """Rebuild the index next to the current one, with partitions and codes trained on the current rows, then switch to it.

        It can be searched and changed in the meantime: concurrent commits are encoded with the new model as part of the final
        commit. Rows, ids, attributes and the metric are kept.

        Parameters
        ----------
        vectors : array, file or table, optional
            The vectors of all rows, as in `vsearch.build`, with `ids`. By default, the vectors stored for reranking; with
            int8 codes, each retraining adds a small rounding error.
        ids : ids, optional
            Ids of `vectors`; row numbers by default.
        quantizer, bits, rerank
            See `vsearch.build`; unchanged by default.
        partitions, shards : int, optional
            By default, the number of partitions that a build would choose, and the current number of shards.
        seed : int, optional
        client : distributed.Client, address, "local" or "local:<workers>", optional
            Train and encode by many tasks on a dask cluster, from the stored vectors and with the same result; an
            interrupted retraining resumes if it is started again. Not for indexes with text columns.
        storage : mapping, optional
            With `client`: options with which workers open the index; see `append`.
        progress : callable, optional
            Called with ``(stage, done, total)``.

        Raises
        ------
        InputError
            An option is invalid, the index does not store vectors (PQ without rerank codes) and `vectors` is not complete, or
            it was trained by `vsearch.jpq`.
        ConflictError
            The index was rebuilt or retrained in the meantime.
        """
        from vsearch.building.inputs.rows import InputArguments
        from vsearch.live.optimizing import silent
        from vsearch.live.options import options_of
        from vsearch.live.retraining import retrain

        if self._snapshot.manifest.documents is not None:
            raise InputError("indexes of multi-vector documents cannot be retrained: rebuild the index")
        snapshot = self._snapshot
        options = options_of(snapshot, quantizer, bits, rerank, partitions, shards, seed)
        if client is not None:
            from vsearch.api.cluster_changes import retrain_on_cluster

            if vectors is not None or ids is not None:
                raise InputError(
                    "vectors and ids are not available with client=; retrain in one process, or from stored vectors"
                )
            commit, after = retrain_on_cluster(
                snapshot, options, client=client, storage=storage, progress=progress or silent
            )
            self._adopt(after)
            return commit
        if storage is not None:
            raise InputError("storage is only available with client=")
        commit, after = retrain(snapshot, options, vectors, InputArguments(ids=ids), progress=progress or silent)
        self._adopt(after)
        return commit
