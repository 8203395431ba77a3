"""Changes of an open index. Each is one commit, after which the index reads the resulting snapshot."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from vsearch.api.opened import OpenedIndex
from vsearch.building.inputs.dask_collections import refuse_collection
from vsearch.errors import InputError, VsearchWarning

if TYPE_CHECKING:
    from vsearch.building.inputs.rows import InputArguments
    from vsearch.live.commits import Commit, Operation
    from vsearch.live.grouping import Waiting
    from vsearch.live.inputs import NewRows
    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot


class ChangeableIndex(OpenedIndex):
    """Changes of an index while it is searched, by any number of writers."""

    def append(
        self,
        embeddings: object,
        attributes: object | None = None,
        ids: object | None = None,
        *,
        vectors: str | None = None,
        id: str | None = None,
        missing: Literal["error", "skip"] = "error",
        packed: bool = False,
        offsets: object | None = None,
        saliency: object | None = None,
        token: str | None = None,
        if_snapshot: int | None = None,
        client: object | None = None,
        storage: Mapping[str, object] | None = None,
        source_storage: Mapping[str, object] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Commit:
        """Add rows.

        Parameters
        ----------
        embeddings, attributes, ids, vectors, id, missing, packed
            As for `vsearch.build`. Missing attributes are NULL. Ids must be new; an index that was built without ids numbers
            the rows.
        offsets, saliency
            For multi-vector documents, as in `vsearch.build_documents`, with their vectors in `embeddings`; `vectors` is then
            the name of the column with the documents. They are encoded as in the build: with its codebook, `keep` and `pool`.
        token : str, optional
            An idempotency key, up to 200 characters: a second call with the same token does nothing and returns the result of
            the first, so that a retry after a crash takes effect once. The index keeps the last 256 tokens.
        if_snapshot : int, optional
            Commit only if this is the newest snapshot.
        client : distributed.Client, address, "local" or "local:<workers>", optional
            Read and encode the rows by many tasks on a dask cluster, with the same result; an interrupted append resumes
            if it is started again. The embeddings are as for `vsearch.build` with `client`.
            Rows stay in the memory of readers until `optimize` merges them, as after any append.
        storage, source_storage : mapping, optional
            With `client`: options with which workers open the index and the source. By default those of this index without
            keys, which workers then find for themselves.
        progress : callable, optional
            Called with ``(stage, done, total)``.

        Returns
        -------
        Commit

        Raises
        ------
        InputError
            The rows are invalid, or an id is already in the index. Nothing was changed.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.

        Warns
        -----
        VsearchWarning
            With this change, the rows added since the last merge are far from all partitions (`info()["drift"]`).
        """
        from vsearch.building.inputs.rows import InputArguments
        from vsearch.live.operations import Append

        if client is not None:
            return self._append_on_cluster(
                embeddings,
                InputArguments(attributes, ids, vectors, id, missing, packed),
                {"offsets": offsets, "saliency": saliency},
                client=client,
                storage=storage,
                source_storage=source_storage,
                token=token,
                if_snapshot=if_snapshot,
                progress=progress,
            )
        if storage is not None or source_storage is not None:
            raise InputError(f"{'source_storage' if storage is None else 'storage'} is only available with client=")
        new = self._read(
            embeddings, InputArguments(attributes, ids, vectors, id, missing, packed), offsets, saliency, progress
        )
        return self._change(Append(new), token, if_snapshot)

    def upsert(
        self,
        embeddings: object,
        attributes: object | None = None,
        ids: object | None = None,
        *,
        vectors: str | None = None,
        id: str | None = None,
        missing: Literal["error", "skip"] = "error",
        packed: bool = False,
        offsets: object | None = None,
        saliency: object | None = None,
        token: str | None = None,
        if_snapshot: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Commit:
        """Add rows, replacing existing rows with the same ids, including their attributes. Takes the arguments of `append`.

        If two writers upsert the same id, the later commit wins.
        """
        from vsearch.building.inputs.rows import InputArguments
        from vsearch.live.operations import Upsert

        new = self._read(
            embeddings, InputArguments(attributes, ids, vectors, id, missing, packed), offsets, saliency, progress
        )
        return self._change(Upsert(new), token, if_snapshot)

    def update(
        self,
        values: Mapping[str, Any],
        *,
        ids: object | None = None,
        where: Where = None,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Change attributes of rows. Their vectors are kept and need not be passed.

        Parameters
        ----------
        values : mapping
            For each attribute, one value for all rows or, with `ids`, an array with one value per id. None is NULL.
        ids : ids, optional
            Rows to update; all must exist.
        where : str, dict or expression, optional
            Rows to update. If another writer commits first, it is evaluated again, including on that writer's rows.
        token, if_snapshot
            See `append`.

        Raises
        ------
        InputError
            An attribute or id does not exist, a value does not fit, or neither `ids` nor `where` is set. PredicateError if
            `where` is invalid, or empty: ``"true"`` names all rows.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        """
        from vsearch.live.operations import Update

        if not isinstance(values, Mapping) or not values:
            raise InputError(f"values must be a dict with a value for at least one attribute, got {values!r:.100}")
        return self._change(Update(dict(values), ids, where), token, if_snapshot)

    def delete(
        self,
        ids: object | None = None,
        *,
        where: Where = None,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Remove rows, by id or by predicate. Unknown ids are ignored: `Commit.deleted` is the number of rows removed.

        Raises
        ------
        InputError
            Neither or both of `ids` and `where` are set. PredicateError if `where` is invalid, or empty: ``"true"`` names all
            rows.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        """
        from vsearch.live.operations import Delete

        return self._change(Delete(ids, where), token, if_snapshot)

    def add_column(
        self,
        name: str,
        values_or_type: Any,
        ids: object | None = None,
        *,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Add an attribute.

        Parameters
        ----------
        name : str
        values_or_type : type, or values
            An Arrow type, its name as in `info` (``"int64"``), or int, float, str or bool: all rows are then NULL, and only the
            manifest is written. Or one value for all rows; or, with `ids`, an array with one value per id, and NULL for other
            rows. Rows that get a value are rewritten with their codes.
        ids : ids, optional
            Rows that get values; all must exist.
        token, if_snapshot
            See `append`.

        Raises
        ------
        InputError
            The attribute already exists, or the values have an unsupported type.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        """
        from vsearch.live.attributes import AddColumn, attribute_of, is_type, read_values

        if ids is None and is_type(values_or_type):
            operation = AddColumn(attribute_of(name, values_or_type))
        else:
            operation = AddColumn(*read_values(name, values_or_type, per_row=ids is not None), ids)
        return self._change(operation, token, if_snapshot)

    def drop_column(self, name: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Drop an attribute. Its values are removed from the files when these are merged; older snapshots keep it.

        Raises
        ------
        InputError
            There is no such attribute.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        """
        from vsearch.live.attributes import DropColumn

        return self._change(DropColumn(name), token, if_snapshot)

    def rename_column(self, name: str, new: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Rename an attribute. Only the manifest is written.

        Raises
        ------
        InputError
            There is no attribute `name`, or one named `new` already exists.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        """
        from vsearch.live.attributes import RenameColumn, check_name

        check_name(new)
        return self._change(RenameColumn(name, new), token, if_snapshot)

    def _append_on_cluster(
        self,
        source: object,
        arguments: InputArguments,
        documents: Mapping[str, object],
        *,
        progress: Callable[[str, int, int], None] | None,
        **options: Any,
    ) -> Commit:
        from vsearch.api.cluster_changes import append_on_cluster
        from vsearch.live.optimizing import silent

        for name, value in documents.items():
            if value is not None:
                raise InputError(f"{name} is not available with client=; append in one process")
        before = self._snapshot
        with self._lock:
            commit, self._snapshot = append_on_cluster(
                self._snapshot, source, arguments, progress=progress or silent, **options
            )
            self._keep_up()
        _warn_of_distance(before, self._snapshot, "append")
        return commit

    def _read(
        self,
        embeddings: object,
        arguments: InputArguments,
        offsets: object | None,
        saliency: object | None,
        progress: Callable[[str, int, int], None] | None,
    ) -> NewRows:
        refuse_collection(embeddings)
        if self._snapshot.manifest.documents is None and offsets is None and saliency is None:
            from vsearch.live.inputs import read_rows

            return read_rows(self._snapshot, embeddings, arguments, progress)
        if arguments.packed:
            raise InputError("packed requires an index with one vector per row; this one has multi-vector documents")
        from vsearch.live.document_inputs import read_documents

        return read_documents(self._snapshot, embeddings, offsets, saliency, arguments, progress)

    def renew_after_fork(self) -> None:
        """Replace the locks, and drop waiting changes of threads that do not exist in this process."""
        super().renew_after_fork()
        self._waiting: deque[Waiting] = deque()

    def _change(self, operation: Operation, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        from vsearch.live.commits import check_call, commit_change
        from vsearch.live.grouping import GROUPED, Waiting, commit_waiting

        check_call(token, if_snapshot)
        before = self._snapshot
        documents = self._snapshot.manifest.documents is not None  # each change updates the count of vectors
        if if_snapshot is not None or documents or operation.kind not in GROUPED:
            with self._lock:
                commit, self._snapshot = commit_change(self._snapshot, operation, token=token, if_snapshot=if_snapshot)
                self._keep_up()
            _warn_of_distance(before, self._snapshot, operation.kind)
            return commit
        waiting = Waiting(operation, token)
        self._waiting.append(waiting)
        try:
            with self._lock:
                while waiting.outcome is None:  # otherwise the previous holder of the lock has committed it
                    self._snapshot = commit_waiting(self._waiting, self._snapshot)
                    self._keep_up()
        except BaseException:
            with suppress(ValueError):  # already taken from the queue
                self._waiting.remove(waiting)
            raise
        commit = waiting.result()
        _warn_of_distance(before, self._snapshot, operation.kind)
        return commit

    def _keep_up(self) -> None:
        from vsearch.live.maintenance import keep_up

        self._snapshot = keep_up(self._snapshot)


def _warn_of_distance(before: Snapshot, after: Snapshot, kind: str) -> None:
    """Warn when a commit moves the rows in deltas far from all partitions."""
    if kind not in ("append", "upsert"):
        return
    from vsearch.search.state.drift import warn_of_distance

    text = warn_of_distance(before, after)
    if text is not None:
        warnings.warn(text, VsearchWarning, stacklevel=4)
