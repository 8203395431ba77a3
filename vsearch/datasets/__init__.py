"""Small data sets that ship with the library, to try it on real vectors without a download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["Dataset", "load", "names"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Vectors with attributes, and queries with their exact neighbors.

    Attributes
    ----------
    name : str
    vectors : (rows, dimensions) float16
    attributes : pyarrow.Table
        One row per vector, with the text that was embedded in column ``text``.
    queries : (queries, dimensions) float32
        Held out: none of them is among the vectors.
    query_texts : tuple of str
    neighbours : (queries, 100) int32
        Rows nearest by cosine, best first, ties to the lower row.
    neighbour_scores : (queries, 100) float32
        Their cosines.
    licence : str
        Terms under which the data may be used and passed on.
    encoder : pathlib.Path or None
        Folder of a text encoder for `vsearch.encoders.load`: the model of the vectors, compressed to 13.5 MB, under a license of its
        own, which is stored next to it. With ``index.with_encoder(vsearch.encoders.load(sample.encoder))``, an index accepts texts.
    """

    name: str
    vectors: npt.NDArray[np.float16]
    attributes: pa.Table
    queries: npt.NDArray[np.float32]
    query_texts: tuple[str, ...]
    neighbours: npt.NDArray[np.int32]
    neighbour_scores: npt.NDArray[np.float32]
    licence: str
    encoder: Path | None = None

    def __repr__(self) -> str:
        rows, dimensions = self.vectors.shape
        return f"Dataset({self.name!r}, {rows} x {dimensions}, {len(self.query_texts)} queries)"


def names() -> tuple[str, ...]:
    """Names that `load` knows."""
    return tuple(sorted(path.parent.name for path in _HERE.glob("*/base.parquet")))


def load(name: str) -> Dataset:
    """Read a data set into memory.

    Parameters
    ----------
    name : str
        One of `names`; ``"wordnet-10k"`` holds 10,000 glosses of WordNet embedded by all-MiniLM-L6-v2 (384 dimensions),
        with 14 attributes (int, bool, string, list of strings) and 200 held-out definitions as queries.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        There is no data set of this name.
    """
    if name not in names():
        raise InputError(f"no data set is named {name!r}; available: {', '.join(names())}")
    import numpy as np
    import pyarrow.parquet as pq

    folder = _HERE / name
    base = pq.read_table(folder / "base.parquet")
    queries = pq.read_table(folder / "queries.parquet")
    return Dataset(
        name=name,
        vectors=_matrix(base["vector"]),
        attributes=base.drop_columns(["vector"]),
        queries=_matrix(queries["vector"]).astype(np.float32),
        query_texts=tuple(queries["text"].to_pylist()),
        neighbours=_matrix(queries["neighbours"]),
        neighbour_scores=_matrix(queries["neighbour_scores"]),
        licence=(folder / "LICENSE").read_text(encoding="utf-8"),
        encoder=folder / "encoder" if (folder / "encoder").is_dir() else None,
    )


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Fixed-size list column as a 2-d array, without a copy where it is one chunk."""
    import pyarrow as pa

    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    values = array.flatten().to_numpy()
    return values.reshape(len(array), -1)
