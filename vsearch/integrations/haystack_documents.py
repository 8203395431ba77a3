"""Documents of Haystack as rows of an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding

from vsearch.errors import InputError
from vsearch.integrations.documents import DocumentIndex, StoredDocument
from vsearch.integrations.metadata import fit, type_of

MISFITS = "_misfits"
"""The attribute with the names of the fields whose values are not in their attribute."""

FIELDS = "_haystack"
"""The key in the JSON of a document's fields other than content, meta and embedding."""

EMBEDDED = "_embedded"
"""The attribute that says whether a document has an embedding: others have a row of zeros."""

WHOLE = "_whole"
"""The attribute with the names of the fields whose integer is a float in their attribute."""


class HaystackIndex(DocumentIndex):
    """An index of Haystack's documents."""

    own_types: ClassVar[Mapping[str, str]] = {MISFITS: "list<string>", WHOLE: "list<string>", EMBEDDED: "bool"}

    def _columns(self, metadatas: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> dict[str, list[Any]]:
        names = [name for name in types if name not in self.own_types]
        columns: dict[str, list[Any]] = {
            name: [
                None if is_list(types[name]) else fit(row_metadata.get(name), types[name]) for row_metadata in metadatas
            ]
            for name in names
        }
        misfits, integers = [], []
        for row, metadata in enumerate(metadatas):
            filled = [name for name, value in metadata.items() if value is not None and name != FIELDS]
            misfits.append([name for name in filled if name not in columns or columns[name][row] is None])
            integers.append(
                [name for name in filled if types.get(name) == "float64" and type_of(metadata[name]) == "int64"]
            )
        columns |= {MISFITS: misfits, WHOLE: integers}
        columns[EMBEDDED] = [metadata.get(FIELDS, {}).get("length") is not None for metadata in metadatas]
        return columns


def is_list(kind: str) -> bool:
    """Whether an attribute holds lists."""
    return kind.startswith("list<")


def to_metadata(document: Document, length: float | None) -> dict[str, Any]:
    """Return the JSON of a document: its meta and, under a separate key, its other fields.

    Parameters
    ----------
    length : float or None
        Of the embedding.
    """
    fields: dict[str, Any] = {"length": length, "content": document.content is not None}
    if document.blob is not None:
        fields["blob"] = document.blob.to_dict()
    if document.sparse_embedding is not None:
        fields["sparse_embedding"] = document.sparse_embedding.to_dict()
    if FIELDS in document.meta:
        raise InputError(f"{FIELDS!r} cannot be a key of meta")
    return {**document.meta, FIELDS: fields}


def to_document(stored: StoredDocument, vector: Any = None, score: float | None = None) -> Document:
    """Return a stored document as one of Haystack."""
    fields = stored.metadata.get(FIELDS, {"content": True, "length": None})
    length = fields.get("length")
    embedding = None
    if vector is not None and length is not None:
        norm = float(np.linalg.norm(vector))
        embedding = (np.asarray(vector, np.float64) * (length / norm if norm else 0.0)).tolist()
    blob, sparse = fields.get("blob"), fields.get("sparse_embedding")
    return Document(
        id=stored.id,
        content=stored.text if fields.get("content", True) else None,
        blob=None if blob is None else ByteStream.from_dict(blob),
        meta={name: value for name, value in stored.metadata.items() if name != FIELDS},
        score=score,
        embedding=embedding,
        sparse_embedding=None if sparse is None else SparseEmbedding.from_dict(sparse),
    )
