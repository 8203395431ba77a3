"""Read multi-vector documents for a change, and encode them with the codec of the index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import InputError
from vsearch.live.inputs import NewRows, is_empty, no_rows, read_rows
from vsearch.multivector.build import batches, encode_documents, open_document_inputs
from vsearch.multivector.opening import codecs_of
from vsearch.multivector.reduction import check_reduction, reduce_documents
from vsearch.multivector.training import STORED
from vsearch.search.state.document_codes import concatenate_documents
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    from vsearch.building.inputs.rows import InputArguments
    from vsearch.search.state.snapshot import Snapshot


def read_documents(
    snapshot: Snapshot,
    vectors: object,
    offsets: object | None,
    saliency: object | None,
    arguments: InputArguments,
    progress: Callable[[str, int, int], None] | None = None,
) -> NewRows:
    """Read and encode documents, with reduced vectors if the index was built that way.

    Parameters
    ----------
    vectors, offsets, saliency, arguments
        As in `vsearch.build_documents`.

    Raises
    ------
    InputError
        The documents cannot be read, their dimensions do not match the index, or their saliency is missing.
    """
    entry = snapshot.manifest.documents
    if entry is None:
        raise InputError("this index has one vector per row: omit offsets and saliency, which apply to documents")
    if offsets is None and is_empty(vectors):
        return no_rows(snapshot)
    token_codec, fde = codecs_of(snapshot)
    check_reduction(entry.keep, entry.pool, saliency=saliency is not None)
    with scratch_folder() as folder:
        scratch = Path(folder)
        opened, weights, arguments, noted = open_document_inputs(vectors, offsets, saliency, arguments, scratch)
        if opened.vectors.dimensions != entry.dimensions:
            raise InputError(
                f"vectors must have the index's {entry.dimensions} dimensions, got {opened.vectors.dimensions}"
            )
        documents, positions = reduce_documents(opened, weights, entry.keep, entry.pool, scratch, lambda *_: None)
        encodings, parts = [], []
        for start, stop in batches(documents.offsets):
            rows, document_offsets = documents.read(start, stop)
            batch = slice(int(documents.offsets[start]), int(documents.offsets[stop]))
            encodings.append(fde.encode_documents(rows, document_offsets))
            encoded = encode_documents(token_codec, rows, document_offsets)
            exact = None if entry.store is None else rows.astype(STORED[entry.store])
            batch_positions = None if positions is None else np.asarray(positions[batch], np.uint32)
            parts.append(replace(encoded, exact=exact, positions=batch_positions))
        new = read_rows(snapshot, np.concatenate(encodings), arguments, progress, noted)
        codes = concatenate_documents(parts)
        codes = None if codes is None else codes.take(new.order)
        return replace(new, documents=codes, input_vectors=int(opened.offsets[-1]))
