"""Texts as queries of an index that holds a text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from vsearch.api.opened import OpenedIndex
from vsearch.encoders.queries import as_texts, encode_queries
from vsearch.storage.snapshots.kinds import ModelPart

if TYPE_CHECKING:
    from vsearch.encoders import CompressedEncoder
    from vsearch.encoders.queries import Encode
    from vsearch.search.state.snapshot import Snapshot


class EncodingIndex(OpenedIndex):
    """Encoding of text queries with the encoder stored in the index."""

    def __init__(self, snapshot: Snapshot, refresh: float | None = None) -> None:
        super().__init__(snapshot, refresh)
        self._encode: tuple[Any, Encode] | None = None

    def with_encoder(self, encoder: CompressedEncoder) -> Self:
        """Store a text encoder in the index, replacing any other, so that `search` accepts texts without torch.

        Parameters
        ----------
        encoder : CompressedEncoder
            From `vsearch.encoders.compress` or `load`; must be made from the model that produced the rows' vectors.

        Returns
        -------
        Index
            Opened at a new snapshot that holds the encoder; this index stays at its snapshot.

        Raises
        ------
        InputError
            It is not a compressed encoder, or its vectors have other dimensions.
        ConflictError
            The index was replaced in the meantime.
        """
        from vsearch.live.attaching import attach

        return type(self)(attach(self._snapshot, encoder), self._interval)

    def _encode_texts(self, snapshot: Snapshot, queries: Any) -> Any:
        """Encode texts with the encoder stored in the index; other input is returned unchanged."""
        texts = as_texts(queries)
        if texts is None:
            return queries
        files = ModelPart.ENCODER.files(snapshot.manifest.model)
        known = self._encode
        if known is None or known[0] != files:
            from vsearch.jpq import load_encoder

            self._encode = known = files, load_encoder(type(self)(snapshot))
        return encode_queries(known[1], texts)
