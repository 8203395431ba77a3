"""Texts as queries of an index that holds a text encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from vsearch.api.opened import OpenedIndex
from vsearch.storage.snapshots.kinds import ModelPart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.encoders import CompressedEncoder
    from vsearch.search.state.snapshot import Snapshot

    Encode = Callable[[Sequence[str]], NDArray[np.float32]]


class EncodingIndex(OpenedIndex):
    """What turns texts into query vectors."""

    def __init__(self, snapshot: Snapshot, refresh: float | None = None) -> None:
        super().__init__(snapshot, refresh)
        self._encode: tuple[Any, Encode] | None = None

    def with_encoder(self, encoder: CompressedEncoder) -> Self:
        """Put a text encoder into the index, in place of the one that it has: `search` then takes texts, without torch.

        Parameters
        ----------
        encoder : CompressedEncoder
            From `vsearch.encoders.compress` or `load`, made from the model that the rows' vectors come from.

        Returns
        -------
        Index
            A new snapshot, which holds the encoder; this index stays on its own.

        Raises
        ------
        InputError
            It is no compressed encoder, or makes vectors of other dimensions.
        ConflictError
            The index was replaced meanwhile.
        """
        from vsearch.live.attaching import attach

        return type(self)(attach(self._snapshot, encoder), self._interval)

    def _encode_texts(self, snapshot: Snapshot, queries: Any) -> Any:
        """Texts as vectors of the encoder that the index holds; what is no text as it is."""
        texts = [queries] if isinstance(queries, str) else queries
        if not (isinstance(texts, (list, tuple)) and texts and all(isinstance(text, str) for text in texts)):
            return queries
        files = ModelPart.ENCODER.files(snapshot.manifest.model)
        known = self._encode
        if known is None or known[0] != files:
            from vsearch.jpq import load_encoder

            self._encode = known = files, load_encoder(type(self)(snapshot))
        return known[1](texts)
