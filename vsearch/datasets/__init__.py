"""Small datasets that ship with the library, to try it on real vectors without a download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsearch._deprecation import deprecated_attribute
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
    neighbors : (queries, 100) int32
        The rows nearest to each query by cosine, best first; of equal ones, the lower row first.
    neighbor_scores : (queries, 100) float32
        Their cosines.
    license : str
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
    neighbors: npt.NDArray[np.int32]
    neighbor_scores: npt.NDArray[np.float32]
    license: str
    encoder: Path | None = None

    neighbours = deprecated_attribute("Dataset.neighbours", "neighbors", since="0.1")
    neighbour_scores = deprecated_attribute("Dataset.neighbour_scores", "neighbor_scores", since="0.1")
    licence = deprecated_attribute("Dataset.licence", "license", since="0.1")

    def __repr__(self) -> str:
        rows, dimensions = self.vectors.shape
        return f"Dataset({self.name!r}, {rows} x {dimensions}, {len(self.query_texts)} queries)"


def names() -> tuple[str, ...]:
    """Names that `load` knows."""
    return tuple(sorted(path.parent.name for path in _HERE.glob("*/base.parquet")))


def load(name: str) -> Dataset:
    """Read a dataset into memory.

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
        There is no dataset of this name.
    """
    if name not in names():
        raise InputError(f"no dataset is named {name!r}; available: {', '.join(names())}")
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
        neighbors=_matrix(queries["neighbours"]),  # columns of the file
        neighbor_scores=_matrix(queries["neighbour_scores"]),
        license=(folder / "LICENSE").read_text(encoding="utf-8"),
        encoder=folder / "encoder" if (folder / "encoder").is_dir() else None,
    )


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column of fixed-size lists as a 2-d array, without copying it if it has only one chunk."""
    import pyarrow as pa

    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    values = array.flatten().to_numpy()
    return values.reshape(len(array), -1)
