"""Input of commands besides options: query vectors, ids, expected neighbors."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsearch.cli.options import existing
from vsearch.errors import InputError
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vsearch.predicates.schema import Schema


def read_queries(text: str, row: int | None = None) -> npt.NDArray[Any]:
    """Read query vectors from a file, or parse one or several from JSON.

    Parameters
    ----------
    text : str
        A path to a vector file as for build, or a JSON list of numbers or of such lists.
    row : int, optional
        Keep only this row.

    Returns
    -------
    (queries, dimensions) ndarray

    Raises
    ------
    InputError
        The text is neither, or there is no such row.
    """
    import numpy as np

    vectors = _parse_vectors(text) if text.lstrip().startswith("[") else _load_vectors(existing(text))
    if row is None:
        return vectors
    if row >= len(vectors):
        raise InputError(f"--row must be below {len(vectors)}, the number of query vectors, got {row}")
    return np.ascontiguousarray(vectors[row : row + 1])


def read_document_queries(
    text: str, offsets: str | None, row: int | None = None, saliency: str | None = None
) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]] | None]:
    """Read multi-vector queries, split by the offsets in a ``.npy`` file; without one, all vectors are one query.

    Returns
    -------
    queries : list of (vectors, dimensions) arrays
    saliency : list of (vectors,) arrays, or None
        From another ``.npy`` file, with one number per vector of all queries.
    """
    vectors = read_queries(text)
    weights = None if saliency is None else _load_npy(existing(saliency))
    if weights is not None and weights.shape != (len(vectors),):
        raise InputError(
            f"{saliency}: must have one number for each of {len(vectors)} vectors, got shape {weights.shape}"
        )
    if offsets is None:
        edges = [0, len(vectors)]
    else:
        from vsearch.multivector.sources import check_offsets

        edges = check_offsets(str(existing(offsets)), len(vectors)).tolist()
    if row is not None:
        if row >= len(edges) - 1:
            raise InputError(f"--row must be below {len(edges) - 1}, the number of queries, got {row}")
        edges = edges[row : row + 2]
    cuts = list(itertools.pairwise(edges))
    queries = [vectors[start:stop] for start, stop in cuts]
    return queries, None if weights is None else [weights[start:stop] for start, stop in cuts]


def read_ids(text: str) -> Any:
    """Read ids from a ``.npy`` file or a text file with one id per line; other text is returned as the name of an attribute."""
    path = Path(text)
    if not path.is_file():
        return text
    return _load_npy(path) if path.suffix == ".npy" else _lines(path)


def typed_ids(id_type: str, texts: Sequence[str]) -> list[str] | list[int]:
    """Return ids of the command line as ids of an index, whose `Index.info` gives `id_type`.

    Raises
    ------
    InputError
        The ids of the index are integers, and a text is not an integer.
    """
    if id_type == "string":
        return list(texts)
    ids = []
    for text in texts:
        try:
            ids.append(int(text))
        except ValueError:
            raise InputError(f"ids of this index must be integers, got {text!r:.100}") from None
    return ids


def read_value(schema: Schema, name: str, text: str) -> Any:
    """Parse a value of an attribute: strings literally, lists as JSON, anything else by casting to the type.

    Raises
    ------
    InputError
        There is no such attribute, or the text is not a value of its type.
    """
    import pyarrow as pa

    from vsearch.search.state.field_types import arrow_of

    kind = arrow_of(schema.find(name))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return text
    try:
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return pa.array([json.loads(text)], kind).to_pylist()[0]
        return pa.scalar(text).cast(kind).as_py()
    except (json.JSONDecodeError, pa.ArrowException, TypeError) as error:
        raise InputError(f"{name} must be {kind}, got {text!r} ({str(error).splitlines()[0]})") from error


def _lines(path: Path) -> list[str]:
    """Lines of a text file; only line feeds count, since ids may contain other line breaks of `str.splitlines`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable text file ({error})") from error
    return text.removesuffix("\n").split("\n") if text else []


def read_truth(text: str) -> npt.NDArray[np.int64]:
    """Read expected ids, (queries, k), from a ``.npy`` or ``.ivecs`` file."""
    import numpy as np

    path = existing(text)
    if path.suffix == ".ivecs":
        flat = np.fromfile(path, dtype="<i4")
        width = int(flat[0]) if flat.size else 0
        if width <= 0 or flat.size % (width + 1):
            raise InputError(f"{text}: not an .ivecs file, or truncated")
        return flat.reshape(-1, width + 1)[:, 1:].astype(np.int64)
    return _load_npy(path)


def _parse_vectors(text: str) -> npt.NDArray[np.float32]:
    import numpy as np

    try:
        vectors = np.atleast_2d(np.asarray(json.loads(text), dtype=np.float32))
    except (json.JSONDecodeError, ValueError, TypeError) as error:
        raise InputError(f"the query must be a JSON list of numbers, or of lists of equal length: {error}") from error
    return vectors


def _load_vectors(path: Path) -> npt.NDArray[Any]:
    from vsearch.building.inputs.vectors import open_vectors

    with scratch_folder() as scratch:
        source = open_vectors(path, Path(scratch))
        return source.read(0, source.rows).copy()


def _load_npy(path: Path) -> npt.NDArray[Any]:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a readable .npy file ({error})") from error


def read_leg_query(value: str) -> tuple[str, Any]:
    """Return the name of a leg and its query, from NAME=QUERY: JSON, or otherwise a text."""
    name, equals, query = value.partition("=")
    if not (name and equals):
        raise InputError(f"--leg must be NAME=QUERY, got {value!r:.100}")
    try:
        return name, json.loads(query)
    except (ValueError, RecursionError):
        return name, query
