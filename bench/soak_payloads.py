"""Damaged and hostile messages: to every role, over HTTP, and in replies. The outcome must be right, or a refusal with a reason.

The functions of a stack run in this process. The answer to a message that was changed into another valid one is compared with the
index's own answer to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

import vsearch
from bench.soak_changes import VALUES, change_bytes, change_tree
from bench.soak_findings import Finding, raw_error
from vsearch.api.remote_index import RemoteIndex
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import Deadline, ErrorKind, RetryPolicy
from vsearch.fanout.platforms.http_api import KeyHashes, answer_event
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope, from_event, to_event
from vsearch.fanout.wire.messages import (
    Answer,
    Failure,
    InfoRequest,
    Options,
    SearchRequest,
    WarmRequest,
    floats,
    int32s,
)
from vsearch.fanout.wire.values import to_values
from vsearch.predicates import decode
from vsearch.storage import open_store

ROWS, DIMENSIONS, KEY = 400, 16, "key"
SECONDS = 5.0
WHERES = (None, "number < 20", "price > 0.25 AND price < 0.5", "name LIKE 'row 1%'", {"number": {"$in": [1, 2, 3]}})
SHAPES: tuple[dict[str, Any], ...] = ({"mode": "flat"}, {"mode": "tree", "allocators": 2})
LARGEST_ELEMENT = 1e15
NOT_OURS = {str(ErrorKind.INTERNAL), str(ErrorKind.MEMORY), str(ErrorKind.CORRUPT), str(ErrorKind.STORE)}


class Fuzzer:
    """Changes one message of a search in each try, and sends it.

    Parameters
    ----------
    folder : Path
        For this fuzzer alone; its index is built once.
    """

    def __init__(self, folder: Path) -> None:
        self.tried = ""
        self._url, self._names = str(folder / "index"), Names("soak")
        self._rng = np.random.default_rng(1)
        self._queries = self._rng.standard_normal((5, DIMENSIONS)).astype(np.float32)
        if not (folder / "index").exists():
            numbers = np.arange(ROWS)
            columns = {"number": numbers % 50, "price": self._rng.random(ROWS), "name": [f"row {i}" for i in numbers]}
            vectors = self._rng.standard_normal((ROWS, DIMENSIONS)).astype(np.float32)
            vsearch.build(vectors, self._url, attributes=pa.table(columns), shards=2, partitions=8)
        self._index = vsearch.open(self._url)
        self._sent: dict[str, list[bytes]] = {}
        self._damage: Random | None = None
        self._local = LocalInvoker(self._make)
        self._remote = RemoteIndex("soak", self._names, self, Envelope())
        for shape in SHAPES:  # collect the messages between roles, to be changed
            for where in WHERES:
                self._remote.search(self._queries, k=5, where=where, columns=["name"], **shape)
        self._key = hashlib.sha256(KEY.encode()).hexdigest()

    def _make(self, function: str) -> Worker:
        role, policy = self._names.role(function), RetryPolicy(first_wait=0.001, longest_wait=0.002)
        return Worker.open(role, open_store(self._url), function, invoker=self, names=self._names, policy=policy)

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """Run a function, like `vsearch.fanout.platforms.in_process.Invoker`; damages replies if the try says so."""
        self._sent.setdefault(self._names.role(function), []).append(payload)
        reply = self._local.invoke(function, payload, timeout)
        if self._damage is not None and self._damage.random() < 0.5:
            what, reply = change_bytes(self._damage, reply, payload)
            self.tried += f"; reply of {function}: {what}"
        return reply

    def close(self) -> None:
        """Nothing to close."""

    def attempt(self, rng: Random) -> str:
        """Run one try; return how it ended: right or refused.

        Raises
        ------
        Finding
        """
        kind = rng.choice(("message", "message", "http", "event", "reply"))
        for payloads in self._sent.values():
            del payloads[100:]
        try:
            return str(getattr(self, f"_{kind}")(rng))
        except BaseException as error:
            raise raw_error(error) from error

    def _message(self, rng: Random) -> str:
        """Send a message to some role: with other bytes, or another tree with a valid checksum."""
        role = rng.choice(sorted(self._sent))
        original = rng.choice(self._sent[rng.choice((role, role, rng.choice(sorted(self._sent))))])
        if rng.random() < 0.1:
            original = wire.encode(rng.choice((InfoRequest(), WarmRequest(shard=0), WarmRequest())))
        what, payload = self._changed(rng, original)
        self.tried = f"to the {role}: {what}"
        function = self._names.processor(rng.randrange(2)) if role == "processor" else f"soak-{role}"
        reply = wire.decode(self._local.invoke(function, payload, SECONDS))
        if isinstance(reply, Failure):
            return _refusal(reply.error, reply.message)
        if role == "coordinator":
            self._compare(wire.decode(payload), reply)
        return "right"

    def _changed(self, rng: Random, message: bytes) -> tuple[str, bytes]:
        other = rng.choice(rng.choice(list(self._sent.values())))
        way = rng.random()
        if way < 0.2:
            return change_bytes(rng, message, other)
        if way < 0.4:
            what, body = change_bytes(rng, message[8:], other[8:])
            return f"sealed, {what}", wire.seal(body)
        tree, done = msgspec.msgpack.decode(message[8:]), []
        for _ in range(rng.choice((1, 1, 2))):
            what, tree = change_tree(rng, tree)
            done.append(what)
        return f"sealed, {', '.join(done)}", wire.seal(_packed(tree))

    def _event(self, rng: Random) -> str:
        """Send a JSON event of the platform."""
        event: Any = to_event(rng.choice(self._sent["coordinator"]))
        what, event = change_tree(rng, event)
        self.tried = f"event, {what}"
        try:
            payload = from_event(event)
        except vsearch.InputError:
            return "refused"
        reply = wire.decode(self._local.invoke("soak-coordinator", payload, SECONDS))
        return _refusal(reply.error, reply.message) if isinstance(reply, Failure) else "right"

    def _http(self, rng: Random) -> str:
        """Send a request to the web handler with its event or body changed."""
        vectors = self._queries[: rng.randrange(1, 4)].tolist()
        parameters: Any = {
            "k": rng.randrange(1, 9),
            "where": rng.choice(WHERES),
            "columns": ["name"],
            "exact": rng.random() < 0.3,
        }
        parameters |= {"vectors": vectors} if rng.random() < 0.5 else {"vector": vectors[0]}
        way, what = rng.random(), "nothing"
        for _ in range(rng.choice((0, 1, 1, 2)) if way < 0.7 else 0):
            what, parameters = change_tree(rng, parameters)
        body = json.dumps(parameters, default=repr)
        if 0.7 <= way < 0.9:
            what, data = change_bytes(rng, body.encode(), b'{"vector": [1, 2], "k": 3}')
            body = data.decode(errors="surrogateescape") if rng.random() < 0.2 else data.decode(errors="replace")
        event: Any = {
            "requestContext": {"http": {"method": "POST"}},
            "rawPath": "/search",
            "headers": {"x-api-key": KEY},
            "body": body,
            "isBase64Encoded": False,
        }
        if rng.random() < 0.1:
            event |= {"body": base64.b64encode(body.encode(errors="replace")).decode(), "isBase64Encoded": True}
        if way >= 0.9:
            what, event = change_tree(rng, event)
        self.tried = f"over HTTP: {what}"
        worker = self._local.worker("soak-coordinator")
        response = answer_event(worker, event, KeyHashes(self._key), Deadline.after(SECONDS))
        document = json.loads(response["body"])
        if response["statusCode"] != 200:
            if response["statusCode"] == 500:
                raise Finding("raw", str(document)[:500])
            return "refused"
        if way < 0.7 and isinstance(parameters, dict) and "hits" in document:
            self._compare_http(parameters, document)
        return "right"

    def _reply(self, rng: Random) -> str:
        """Damage replies on their way, at any level."""
        self._damage, self.tried = rng, "a search"
        where, k = rng.choice(WHERES), rng.randrange(1, 12)
        shape = rng.choice(({"mode": "alone"}, *SHAPES))
        try:
            hits = self._remote.search(self._queries, k=k, where=where, timeout=SECONDS, **shape)
        except vsearch.VsearchError:
            return "refused"
        finally:
            self._damage = None
        expected = self._index.search(self._queries, k=k, where=where)
        _same(hits.scores, expected.scores, hits.ids, expected.ids)
        return "right"

    def _compare(self, message: Any, reply: Any) -> None:
        """Compare the answer to a search with the index's own."""
        if not (isinstance(message, SearchRequest) and isinstance(reply, Answer)) or reply.outcomes:
            return
        options: Options = message.options
        vectors = floats(message.queries, message.count, message.dimensions)
        if not (np.abs(vectors) < LARGEST_ELEMENT).all():
            return  # functions also accept longer values
        expected = self._index.search(
            vectors,
            k=options.k,
            where=None if options.where is None else decode(options.where),
            nprobe=options.nprobe,
            exact=options.exact,
            min_score=options.min_score,
            offset=options.offset,
        )
        ids, scores, first = to_values(reply.ids) if reply.ids is not None else [], floats(reply.scores), 0
        for query, count in enumerate(int32s(reply.found).tolist()):
            stop = int((expected.ids[query] >= 0).sum())
            if count != stop:
                raise Finding("wrong", f"query {query} has {count} rows, the index answers {stop}")
            found_ids = np.array(ids[first : first + count])
            _same(scores[first : first + count], expected.scores[query, :stop], found_ids, expected.ids[query, :stop])
            first += count

    def _compare_http(self, parameters: dict[str, Any], document: dict[str, Any]) -> None:
        vectors = parameters.get("vectors") or [parameters["vector"]]
        options = {
            name: parameters[name]
            for name in ("k", "where", "exact", "min_score", "offset", "nprobe")
            if name in parameters
        }
        expected = self._index.search(np.array(vectors, np.float64), **options)
        for query, hits in enumerate(document["hits"]):
            stop = int((expected.ids[query] >= 0).sum())
            if len(hits) != stop:
                raise Finding("wrong", f"query {query} has {len(hits)} rows, the index answers {stop}")
            ids, scores = (np.array([hit[name] for hit in hits]) for name in ("id", "score"))
            _same(scores, expected.scores[query, :stop], ids, expected.ids[query, :stop])


def _packed(tree: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(tree)
    except (msgspec.MsgspecError, OverflowError, TypeError):  # an integer of more than 64 bits
        return msgspec.msgpack.encode(VALUES.index(""))


def _refusal(kind: str, text: str) -> str:
    """A refusal, unless its text reports a defect of vsearch."""
    if kind in NOT_OURS or "Traceback" in text:
        raise Finding("raw", f"{kind}: {text[:500]}")
    return "refused"


def _same(scores: Any, expected_scores: Any, ids: Any, expected_ids: Any) -> None:
    """Check that scores match, and rows as well, except among equal scores."""
    with suppress(ValueError):  # other shapes
        if np.allclose(scores, expected_scores, rtol=1e-5, atol=1e-6, equal_nan=True):
            different = np.asarray(ids) != np.asarray(expected_ids)
            ties = np.isclose(
                np.asarray(expected_scores)[..., 1:], np.asarray(expected_scores)[..., :-1], rtol=1e-5
            ).any()
            if not different.any() or ties:
                return
    raise Finding(
        "wrong", f"other rows than the index answers: {np.asarray(ids)!r}, not {np.asarray(expected_ids)!r}"[:900]
    )
