"""Changes of an open index. Each is one commit, and the index goes on to the snapshot that it made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vsearch.api.opened import OpenedIndex
from vsearch.errors import ConflictError, InputError, StoreError, VsearchError
from vsearch.live.plan import MOST_DELTAS

if TYPE_CHECKING:
    from vsearch.live.commits import Commit, Operation
    from vsearch.live.inputs import NewRows
    from vsearch.predicates import Where

logger = logging.getLogger("vsearch")


class ChangeableIndex(OpenedIndex):
    """What can be done to an index while it is searched, by any number of writers."""

    def append(
        self,
        embeddings: object,
        attributes: object | None = None,
        ids: object | None = None,
        *,
        vectors: str | None = None,
        id: str | None = None,
        missing: str = "error",
        packed: bool = False,
        offsets: object | None = None,
        saliency: object | None = None,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Add rows.

        Parameters
        ----------
        embeddings, attributes, ids, vectors, id, missing, packed
            As `vsearch.build` takes them. Attributes that are not given are NULL. Ids must be new; an index that was built
            without ids numbers the rows.
        offsets, saliency
            Of documents of many vectors, with `embeddings` as `vsearch.build_documents` takes its vectors; `vectors` names the
            column of a table that has them. The index encodes them as it was built: with its codebook, `keep` and `pool`.
        token : str, optional
            A name for this change, up to 200 characters: a second call with it does nothing and returns what the first came
            to, so that a retry after a crash counts once. The last 256 are remembered.
        if_snapshot : int, optional
            Change this snapshot only.

        Returns
        -------
        Commit

        Raises
        ------
        InputError
            The rows are not usable, or an id is in the index already. Nothing was changed.
        ConflictError
            The index was replaced or trained anew meanwhile, or `if_snapshot` is not the newest.
        """
        from vsearch.live.operations import Append

        new = self._read(embeddings, (attributes, ids, vectors, id, missing, packed), offsets, saliency)
        return self._change(Append(new), token, if_snapshot)

    def upsert(
        self,
        embeddings: object,
        attributes: object | None = None,
        ids: object | None = None,
        *,
        vectors: str | None = None,
        id: str | None = None,
        missing: str = "error",
        packed: bool = False,
        offsets: object | None = None,
        saliency: object | None = None,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Add rows; one whose id is in the index replaces the row there, its attributes too. Takes what `append` takes.

        Of two writers of one id, the later commit wins.
        """
        from vsearch.live.operations import Upsert

        new = self._read(embeddings, (attributes, ids, vectors, id, missing, packed), offsets, saliency)
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
        """Change attributes of rows. Their vectors stay and are not needed.

        Parameters
        ----------
        values : mapping
            By attribute one value for all rows or, with `ids`, an array with one for each. None is NULL.
        ids : ids, optional
            Those of the rows; all must be there.
        where : str, dict or expression, optional
            Which rows. Where another writer commits first, it is evaluated again, on that writer's rows too.
        token, if_snapshot
            See `append`.

        Raises
        ------
        InputError
            No such attribute, a value that does not fit, an id that is not there, or neither `ids` nor `where`.
        ConflictError
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
        """Remove rows, by id or by predicate. Ids that are not there are passed over: `Commit.deleted` says how many were.

        Raises
        ------
        InputError
            Neither `ids` nor `where`, or both.
        ConflictError
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
            An Arrow type, the name of one as `info` says it (``"int64"``), or int, float, str or bool: all rows are NULL then, and
            only the manifest is written. Or one value for all rows; or, with `ids`, an array with one for each of them, and NULL
            for the others. Rows that get a value are written anew with their codes.
        ids : ids, optional
            Of the rows that get values; all must be there.
        token, if_snapshot
            See `append`.

        Raises
        ------
        InputError
            There is an attribute of the name, or the values are of no type that attributes have.
        ConflictError
        """
        from vsearch.live.attributes import AddColumn, attribute_of, is_type, read_values

        if ids is None and is_type(values_or_type):
            operation = AddColumn(attribute_of(name, values_or_type))
        else:
            operation = AddColumn(*read_values(name, values_or_type, each=ids is not None), ids)
        return self._change(operation, token, if_snapshot)

    def drop_column(self, name: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Drop an attribute. Its values go from the files when these are merged; older snapshots keep it.

        Raises
        ------
        InputError
            There is no attribute of the name.
        ConflictError
        """
        from vsearch.live.attributes import DropColumn

        return self._change(DropColumn(name), token, if_snapshot)

    def rename_column(self, name: str, new: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Call an attribute `new` from now on. Only the manifest is written.

        Raises
        ------
        InputError
            There is no attribute of the name, or one that is called `new`.
        ConflictError
        """
        from vsearch.live.attributes import RenameColumn, check_name

        check_name(new)
        return self._change(RenameColumn(name, new), token, if_snapshot)

    def _read(
        self, embeddings: object, given: tuple[Any, ...], offsets: object | None, saliency: object | None
    ) -> NewRows:
        from vsearch.building.inputs.rows import Given

        rows = Given(*given)
        if self._snapshot.manifest.documents is None and offsets is None and saliency is None:
            from vsearch.live.inputs import read_rows

            return read_rows(self._snapshot, embeddings, rows)
        if rows.packed:
            raise InputError("packed is for single vectors of bits, which documents do not have")
        from vsearch.live.document_inputs import read_documents

        return read_documents(self._snapshot, embeddings, offsets, saliency, rows)

    def _change(self, operation: Operation, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        from vsearch.live.commits import commit_change

        with self._lock:
            commit, self._snapshot = commit_change(self._snapshot, operation, token=token, if_snapshot=if_snapshot)
            live = self._snapshot.manifest.live
            if live and len(live.deltas) > MOST_DELTAS:
                self._fold()
            if live and live.pending is not None:
                self._train()
        return commit

    def _train(self) -> None:
        """Train an index that began empty, once it has enough rows. Until then, and where it fails, it is searched whole."""
        from vsearch.live.beginning import due_options
        from vsearch.live.optimizing import silent
        from vsearch.live.retraining import retrain

        options = due_options(self._snapshot)
        if options is None:
            return
        try:
            _, self._snapshot = retrain(self._snapshot, options, progress=silent)
        except (ConflictError, StoreError) as error:
            logger.warning("%s: it is trained by a later append: %s", self._snapshot.store.url, error)

    def _fold(self) -> None:
        """Make fewer deltas of many. What was committed before stands whatever comes of it."""
        from vsearch.live.optimizing import fold

        try:
            _, self._snapshot = fold(self._snapshot)
        except VsearchError as error:
            logger.warning("%s: deltas are left for optimize: %s", self._snapshot.store.url, error)
