"""The data of the console, as JSON under ``/console/``; for its page only, so that both may change together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np

from vsearch.api.build_and_open import open as open_index
from vsearch.api.explanation import explain_search, sql_of
from vsearch.api.hits import DocumentHits
from vsearch.api.index import Index
from vsearch.api.json_values import to_json_value
from vsearch.errors import InputError, SearchTimeoutError, VsearchError
from vsearch.search.engine.stats import SearchStats
from vsearch.serving.endpoint import Endpoint

if TYPE_CHECKING:
    from vsearch.api.hits import Hits

LARGEST_SHOWN = 500
"""Maximum number of hits that a page may request."""

MOST_VALUES = 30
"""Maximum number of values of an attribute that are offered for a filter."""

SECONDS = 30.0
"""Timeout of a search, and of the measurement of a curve, in seconds."""

MEGABYTES = 1769
"""Memory of the functions whose bill is shown, in MB; with this much, they have one processor."""

CURVE_FACTORS = (0.25, 0.5, 0.75, 1.0, 1.3, 2.0, 3.0)

Count = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_SHOWN)]


class SearchForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A search of the page: exactly one of `text`, `words`, `vector`, `vectors` (of one document) and `like` (the id of a row)."""

    text: str | None = None
    words: str | None = None
    vector: list[float] | None = None
    vectors: list[list[float]] | None = None
    like: int | str | None = None
    k: Count = 10
    where: str | None = None
    columns: tuple[str, ...] = ()
    exact: bool = False


class AskedValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The attribute whose values are requested."""

    column: str
    where: str | None = None


class AskedRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The requested example rows."""

    where: str | None = None
    columns: tuple[str, ...] = ()
    limit: Count = 12


class AskedCurve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The requested curve."""

    k: Count = 10
    sample: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class Inspector:
    """Answers the console's requests about one index. Thread-safe.

    The index is opened on the first request, and looks for a newer snapshot at most once per second.

    Parameters
    ----------
    url : str
    **storage
        As for `vsearch.open`.
    """

    def __init__(self, url: str, **storage: Any) -> None:
        self._url, self._storage = url, storage
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._functions: Endpoint | None = None

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer a request whose key was checked with a status and a JSON document.

        Parameters
        ----------
        path : str
            Without ``/console``, as in ``/search``.
        """
        if path not in ANSWERS:
            return 404, {"error": "absent", "message": f"the console has no {path[:100]!r}"}
        if method != "POST":
            return 405, {"error": "refused", "message": f"requests to the console must be POST, got {method[:20]}"}
        kind, answer = ANSWERS[path]
        try:
            request = msgspec.json.decode(body or b"{}", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return 400, {"error": "refused", "message": f"the body is invalid: {str(error)[:300]}"}
        try:
            return 200, answer(self, request)
        except SearchTimeoutError as error:
            return 504, {"error": "timeout", "message": str(error)}
        except InputError as error:
            return 400, {"error": "refused", "message": str(error)}
        except VsearchError as error:
            return 502, {"error": "failed", "message": str(error)}

    def index(self) -> Index:
        """The open index."""
        with self._lock:
            if self._index is None:
                opened = open_index(self._url, refresh=1.0, **self._storage)
                if not isinstance(opened, Index):
                    raise InputError("the console shows indexes of this machine and of buckets")
                self._index = opened
            return self._index

    def describe(self, _: Nothing) -> dict[str, Any]:
        """Describe the index: its properties, attributes, and kinds of queries."""
        index = self.index()
        index.count()  # looks for a newer snapshot
        facts = index.info()
        facts["url"] = facts["url"].rpartition("/")[2]  # the page must not learn where the index is stored
        documents = index.has_documents
        possible = {
            "text": facts["encoder"] and not documents,
            "words": facts["text"],
            "like": facts["rows"],
            "vectors": documents,
            "vector": not documents,
        }
        ways = [way for way, available in possible.items() if available]
        attributes = [{"name": name, "type": kind, "form": _form(kind)} for name, kind in facts["attributes"].items()]
        return {"facts": to_json_value(facts), "attributes": attributes, "ways": ways}

    def values(self, request: AskedValues) -> dict[str, Any]:
        """Return the range of a number or time, and the most frequent values of an attribute."""
        index = self.index()
        kind = index.info()["attributes"].get(request.column)
        if kind is None:
            raise InputError(f"the index has no attribute {request.column!r:.100}")
        where, form = request.where or None, _form(kind)
        listed: dict[str, Any] = {"form": form}
        if form in {"number", "time"}:
            least, greatest = index.min_max(request.column, where)
            listed |= {"least": to_json_value(least), "greatest": to_json_value(greatest)}
        facets = index.facet(request.column, where, limit=MOST_VALUES).to_pylist()
        return listed | {"values": [{"value": to_json_value(row["value"]), "count": row["count"]} for row in facets]}

    def rows(self, request: AskedRows) -> dict[str, Any]:
        """Return the first rows that pass a filter, and how many there are."""
        index, where = self.index(), request.where or None
        table = index.rows(where, list(request.columns), limit=request.limit)
        return {"rows": to_json_value(table.to_pylist()), "count": index.count(where)}

    def search(self, request: SearchForm) -> dict[str, Any]:
        """Search, and return hits, plan, levels, and what functions would cost."""
        ways = [request.text, request.words, request.vector, request.vectors, request.like]
        if ways.count(None) != len(ways) - 1:
            raise InputError("exactly one of text, words, vector, vectors and like is required")
        index = self.index()
        options: dict[str, Any] = {"where": request.where or None, "columns": request.columns, "timeout": SECONDS}
        if request.words is not None:
            hits: Hits = index.search_text(request.words, request.k, **options)
            return self._answer(index, hits, {"k": request.k, "words": request.words}, request, None)
        options["exact"] = request.exact
        query = _query(index, request)
        if index.has_documents:
            documents = index.search_documents(query, request.k, matches=True, **options)
            return self._answer(index, documents, {"k": request.k, "query_vectors": len(query)}, request, None)
        hits = index.search(query, request.k, **options)
        explained = explain_search(index.snapshot, hits.stats, request.k, options["where"], {"exact": request.exact})
        answer = self._answer(index, hits, explained.plan, request, query)
        return answer | {"notes": list(explained.notes)}

    def _answer(
        self, index: Index, hits: Hits, plan: dict[str, Any], request: SearchForm, query: Any
    ) -> dict[str, Any]:
        """Return an answer; `query` is a text or vector for those that functions answer, too."""
        rows = [
            {
                "id": to_json_value(hit.id),
                "score": to_json_value(hit.score),
                "columns": {n: to_json_value(v) for n, v in hit.values.items()},
            }
            for hit in hits[0]
        ]
        if isinstance(hits, DocumentHits) and hits.matches is not None:
            matched = hits.matches[0]
            for place, row in enumerate(rows):
                pairs = zip(matched.positions[place].tolist(), matched.scores[place].tolist(), strict=True)
                row["matches"] = [{"position": position, "score": to_json_value(score)} for position, score in pairs]
        return {
            "hits": rows,
            "plan": to_json_value(plan),
            "predicate": sql_of(request.where or None),
            "levels": _levels(hits.stats, len(index), len(rows)),
            "stats": to_json_value(hits.stats.to_dict()),
            "bill": None if query is None else self._bill(query, request),
            "notes": [],
            "snapshot": index.snapshot.manifest.snapshot,
        }

    def _bill(self, query: Any, request: SearchForm) -> dict[str, Any] | None:
        """Search again as functions would, in this process, and return their bill; None if they could not."""
        with self._lock:
            if self._functions is None:
                self._functions = Endpoint(self._url, memory=MEGABYTES, **self._storage)
        queries = {"text": query} if isinstance(query, str) else {"vector": query.reshape(-1).tolist()}
        body = {"k": request.k, "where": request.where or None, "columns": request.columns, "exact": request.exact}
        status, document = self._functions.priced("POST", "/search", {}, msgspec.json.encode(queries | body))
        return to_json_value(document["bill"]) | {"megabytes": MEGABYTES} if status == 200 else None

    def curve(self, request: AskedCurve) -> dict[str, Any]:
        """Measure recall and cost with narrower and wider settings."""
        curve = self.index().recall_curve(k=request.k, sample=request.sample, factors=CURVE_FACTORS, timeout=SECONDS)
        described: dict[str, Any] = to_json_value(curve.to_dict())
        return described


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty body."""


ANSWERS: dict[str, tuple[Any, Any]] = {
    "/describe": (Nothing, Inspector.describe),
    "/values": (AskedValues, Inspector.values),
    "/rows": (AskedRows, Inspector.rows),
    "/search": (SearchForm, Inspector.search),
    "/curve": (AskedCurve, Inspector.curve),
}


def _form(kind: str) -> Literal["number", "text", "yes/no", "time", "list"]:
    """Return how a filter on an attribute of a type is built."""
    if kind.startswith("list"):
        return "list"
    if kind == "bool":
        return "yes/no"
    if kind.startswith(("timestamp", "date")):
        return "time"
    return "number" if kind.startswith(("int", "uint", "float", "decimal", "double")) else "text"


def _query(index: Index, request: SearchForm) -> Any:
    """Return what is searched for: a text, a vector, or the vectors of a document."""
    documents = index.has_documents
    if request.like is not None:
        like: int | str = request.like
        if isinstance(like, str) and index.snapshot.manifest.id_type != "string":
            try:
                like = int(like)
            except ValueError:
                raise InputError(f"the ids of this index are integers, got {like!r:.100}") from None
        return index.document_vectors([like]).vectors[0] if documents else index.vectors([like]).vectors[0]
    if documents:
        if not request.vectors:
            raise InputError("this index holds multi-vector documents: paste a list of vectors, or choose a row")
        return _array(request.vectors)
    if request.vectors is not None:
        raise InputError("this index holds single vectors: paste one")
    return request.text if request.text is not None else _array(request.vector)


def _array(values: Any) -> Any:
    try:
        return np.array(values, np.float32)
    except ValueError:
        raise InputError("all vectors must have the same length") from None


def _levels(stats: SearchStats, rows: int, hits: int) -> list[dict[str, Any]]:
    """Return the levels of a search, each with the rows that it processed."""
    return [
        {"name": "rows of the index", "rows": rows},
        {"name": "pass the filter", "rows": stats.rows_masked},
        {"name": "scanned", "rows": stats.rows_scanned},
        {"name": "refined", "rows": stats.rows_refined},
        {"name": "reranked", "rows": stats.rows_reranked},
        {"name": "returned", "rows": hits},
    ]
