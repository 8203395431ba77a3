"""An index as tools of the Model Context Protocol; needs ``pip install vsearch[mcp]``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar, cast

import numpy as np
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool as ServedTool
from pydantic import Field

from vsearch._version import __version__
from vsearch.api.json_values import to_json_value
from vsearch.api.protocol import SearchableIndex
from vsearch.errors import InputError, VsearchError

MOST_HITS = 100
"""Maximum number of rows that a tool returns, since a model has to read them."""

LONGEST_VALUE = 1000
"""Maximum number of characters of a value that are returned; `get` returns ten times as many."""

SECONDS = 30.0

FREQUENT = 8
"""Maximum number of values of a text attribute that the schema lists."""

GRAMMAR = """\
A filter is SQL as after WHERE, over the attributes of the schema: = <> < <= > >= BETWEEN IN LIKE ILIKE IS NULL AND OR NOT, \
starts_with(x, 'a'), contains(x, 'a'), lower(x) = 'a', DATE '2026-01-31', TIMESTAMP '2026-01-31 12:00:00', a yes/no attribute by its name \
alone; for lists list_contains(t, 'a'), list_has_any(t, ['a', 'b']), list_has_all(t, ['a', 'b']). Strings are in single quotes (doubled \
inside), names in double quotes if they are not plain words. There are no implicit casts. "id" is the id of a row ("_id" if an attribute has \
that name). The same as an object: {"price": {"$lt": 10}, "color": {"$in": ["red", "blue"]}, "$or": [{...}, {...}]}, with $eq $ne $gt $gte \
$lt $lte $in $nin $like $contains $exists $any $all $and $or $not. Filters are exact: every row that is returned passes."""

Tool = TypeVar("Tool", bound=Callable[..., Any])
Where = Annotated[str | dict[str, Any] | None, Field(description=GRAMMAR)]
Columns = Annotated[
    list[str] | None, Field(description="Attributes to return, as named in the schema; all of them if left out.")
]
Text = Annotated[
    str | None,
    Field(description="The query. With a text encoder by meaning, otherwise by words: word +must -not prefix*."),
]
Like = Annotated[str | int | None, Field(description="The id of a row: finds rows that are like it, without itself.")]
Vector = Annotated[list[float] | None, Field(description="An embedding, with the dimensions of the schema.")]
K = Annotated[int, Field(ge=1, le=MOST_HITS, description="Number of rows.")]
Ids = Annotated[list[str | int], Field(min_length=1, max_length=MOST_HITS, description="Ids of rows.")]


def make_server(index: SearchableIndex, name: str = "vsearch") -> MCPServer:
    """Return a server with the tools ``search``, ``count``, ``schema`` and ``get`` of an index, which it does not change.

    Parameters
    ----------
    index : Index or RemoteIndex
    name : str
        Name of the server, for clients.

    Returns
    -------
    mcp.server.MCPServer
        ``run()`` serves standard input and output.
    """
    tools = IndexTools(index)
    about = f"Search of {len(index):,} rows by meaning, words or example, with exact filters on attributes. Call schema first."
    offered = [
        ServedTool.from_function(_with_errors(tool)) for tool in (tools.search, tools.count, tools.schema, tools.get)
    ]
    for tool in offered:
        tool.parameters["additionalProperties"] = False
    return StrictServer(name, instructions=about, version=__version__, tools=offered)


class StrictServer(MCPServer):
    """A server that refuses arguments that a tool does not have, which the SDK ignores: a filter under another name would count all rows."""

    async def call_tool(self, name: str, arguments: dict[str, Any], *context: Any, **options: Any) -> Any:
        """Call a tool.

        Raises
        ------
        ToolError
            The tool has no such argument, or refuses the call.
        """
        for tool in await self.list_tools():
            known = list(tool.input_schema.get("properties", ()))
            unknown = [argument for argument in arguments if argument not in known]
            if tool.name == name and unknown:
                raise ToolError(f"{name} has no argument {unknown[0]!r:.100}; it has {', '.join(known) or 'none'}")
        return await super().call_tool(name, arguments, *context, **options)


class IndexTools:
    """The tools of an index.

    Parameters
    ----------
    index : Index or RemoteIndex
    """

    def __init__(self, index: SearchableIndex) -> None:
        self._index = index

    def search(
        self,
        text: Text = None,
        like: Like = None,
        vector: Vector = None,
        k: K = 10,
        where: Where = None,
        columns: Columns = None,
    ) -> dict[str, Any]:
        """Find the rows nearest to a text, to another row, or to a vector, among those that pass a filter. Pass exactly one of text, like and vector."""  # fmt: skip
        if [text, like, vector].count(None) != 2:
            raise InputError("pass exactly one of text, like and vector")
        info = self._index.info()
        names = tuple(info["attributes"]) if columns is None else tuple(columns)
        options: dict[str, Any] = {"columns": names, "timeout": SECONDS}
        if info.get("documents"):
            raise InputError("this index holds multi-vector documents, which cannot be searched with these tools")
        if text is not None and not info.get("encoder") and info.get("text"):
            hits = self._index.search_text(text, k, where, **options)
        elif text is not None and not info.get("encoder"):
            raise InputError("this index has neither a text encoder nor text columns: pass like or vector")
        elif like is not None:
            hits = self._index.search_like([self._id(like)], (), k, where, **options)
        else:
            query = text if vector is None else np.asarray(vector, np.float32)
            hits = self._index.search(query, k, where, **options)
        rows = [{"id": hit.id, "score": hit.score, **hit.values} for hit in hits[0]]
        return {"rows": to_json_value(rows, LONGEST_VALUE)}

    def count(self, where: Where = None) -> dict[str, int]:
        """Count the rows that pass a filter; all rows without one."""
        return {"rows": self._index.count(where)}

    def schema(self) -> dict[str, Any]:
        """Describe the index: rows, kinds of queries, and its attributes with their types, ranges or frequent values, for filters."""
        info = self._index.info()
        return {
            "rows": info["rows"],
            "dimensions": info["dimensions"],
            "metric": info["metric"],
            "ids": "strings" if info["id_type"] == "string" else "integers",
            "search by": ["like", "vector", *(["text"] if info.get("encoder") or info.get("text") else [])],
            "attributes": [self._describe(name, kind) for name, kind in info["attributes"].items()],
        }

    def get(self, ids: Ids, columns: Columns = None) -> dict[str, Any]:
        """Return rows by id, with their attributes; ids that do not exist are left out."""
        table = self._index.get([self._id(id_) for id_ in ids], columns, missing="skip")
        return {"rows": to_json_value(table.to_pylist(), 10 * LONGEST_VALUE)}

    def _id(self, id_: str | int) -> str | int:
        """Return an id in the type of the index; models write numbers as strings and the other way around."""
        if self._index.info()["id_type"] == "string":
            return str(id_)
        try:
            return int(id_)
        except ValueError:
            raise InputError(f"the ids of this index are integers, got {id_!r:.100}") from None

    def _describe(self, name: str, kind: str) -> dict[str, Any]:
        """Describe an attribute; behind functions by its type alone."""
        described: dict[str, Any] = {"name": name, "type": kind}
        try:
            if kind == "string" or kind.startswith("list"):
                values = self._index.facet(name, limit=FREQUENT)["value"].to_pylist()
                described["frequent values"] = to_json_value(values, 100)
            elif kind != "bool":
                described["least"], described["greatest"] = to_json_value(list(self._index.min_max(name)))
        except InputError:
            return {"name": name, "type": kind}
        return described


def _with_errors(tool: Tool) -> Tool:
    """Return a tool that tells the model what was wrong with its call."""

    @wraps(tool)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return tool(*arguments, **options)
        except VsearchError as error:
            raise ToolError(str(error)) from error

    return cast("Tool", call)
