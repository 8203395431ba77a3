"""A handler answers any input: with a clear refusal, never with an exception or a traceback."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from importlib import import_module, reload
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import functions
import vsearch
from tests.fanout.conftest import make_sample
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.platforms import http_api as web
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope, from_event, to_event
from vsearch.fanout.wire.messages import Options, SearchRequest
from vsearch.fanout.wire.replies import open_reply
from vsearch.fanout.wire.where import encode_where

KEY = "an api key"
ROLES = ["coordinator", "allocator", "processor"]
OFTEN = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handlers")
    vectors, attributes, queries = make_sample(300, 16, 2)
    index = vsearch.build(vectors, str(folder / "index"), attributes, shards=2, partitions=6)
    return str(folder / "index"), index, queries


@pytest.fixture(scope="module")
def handlers(index):
    """The handlers as a process has them that was started for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSEARCH_INDEX", index[0])
        patch.setenv("VSEARCH_STACK", "fuzz")
        patch.setenv("VSEARCH_LOG", "0")
        patch.setenv("VSEARCH_API_KEY_SHA256", hashlib.sha256(KEY.encode()).hexdigest())
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        patch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")  # nobody is there
        yield {name: reload(import_module(f"functions.{name}")).handler for name in [*ROLES, "http"]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def kind_of(handlers, role, event):
    """What a role refuses an event with, None where it answers."""
    answer = handlers[role](event, None)
    json.dumps(answer)
    try:
        open_reply(Envelope(), from_event(answer), role)
    except CallError as error:
        kind, text = error.kind, str(error)
    else:
        return None
    assert not any(sign in text for sign in ("Traceback", ".py", ", line "))
    return kind


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
@OFTEN
@given(event=json_values | st.dictionaries(st.just("vsearch"), json_values, min_size=1))
def test_any_json(handlers, role, event):
    assert kind_of(handlers, role, event) is ErrorKind.REFUSED


@pytest.mark.parametrize("role", ROLES)
@OFTEN
@given(body=st.binary(max_size=200), sealed=st.booleans())
def test_any_bytes(handlers, role, body, sealed):
    assert kind_of(handlers, role, to_event(wire.seal(body) if sealed else body)) is ErrorKind.REFUSED


def valid(queries):
    options = Options(k=3, where=encode_where("year > 2000 AND word = 'w3'"))
    request = SearchRequest(count=24, dimensions=16, queries=queries.astype("<f4").tobytes(), options=options)
    return wire.encode(request)


@pytest.mark.parametrize("role", ROLES)
@OFTEN
@given(seed=st.integers(0, 2**32))
def test_a_search_with_damaged_parts(index, handlers, role, seed):
    """Fields of a valid message are replaced, dropped or added; the checksum is right."""
    chance = random.Random(seed)
    fields = msgspec.msgpack.decode(valid(index[2])[8:])
    for _ in range(chance.randint(1, 3)):
        place = fields["options"] if chance.random() < 0.5 and isinstance(fields.get("options"), dict) else fields
        name = chance.choice([*place, "unknown"])
        values = [None, -1, 0, 1e308, 2**63, "x", b"", b"\xff" * 40, [], {}, float("nan"), [[]] * 3, "tree", True]
        if chance.random() < 0.2 and name in place:
            del place[name]
        else:
            place[name] = chance.choice(values)
    kind = kind_of(handlers, role, to_event(wire.seal(msgspec.msgpack.encode(fields))))
    # what was dropped may have had a default, and then the others are called, who are not there; nor is every snapshot
    assert kind in (
        None,
        ErrorKind.REFUSED,
        ErrorKind.PREDICATE,
        ErrorKind.UNREACHABLE,
        ErrorKind.DEADLINE,
        ErrorKind.TIMEOUT,
        ErrorKind.MISSING,
        ErrorKind.SNAPSHOT,
    )


def post(handlers, body, key=KEY, path="/search", method="POST", **more):
    event = {
        "requestContext": {"http": {"method": method}},
        "rawPath": path,
        "headers": {"X-Api-Key": key},
        "body": body,
    }
    answer = handlers["http"]({**event, **more}, None)
    assert answer["headers"] == {"content-type": "application/json"}
    assert "Traceback" not in answer["body"]
    return answer["statusCode"], json.loads(answer["body"])


def api(stage):
    """The context of a request through an HTTP API."""
    return {"http": {"method": "POST"}, "stage": stage}


@OFTEN
@given(body=st.text(max_size=100) | json_values.map(json.dumps))
def test_any_body(handlers, body):
    status, answer = post(handlers, body)
    assert status == 400
    assert set(answer) == {"error", "message"}


NEARLY = {
    "vector": st.just([1.0] * 16) | st.lists(st.floats(allow_nan=False), max_size=17) | json_values,
    "vectors": st.none() | st.lists(st.lists(st.floats(allow_nan=False), max_size=3), max_size=3) | json_values,
    "k": st.integers(-1, 20_000) | json_values,
    "where": st.sampled_from(["year >", "nothing = 1", "1 = 1; DROP TABLE a", "word LIKE '%'"])
    | st.text()
    | json_values,
    "columns": st.lists(st.text(max_size=5), max_size=3) | json_values,
    "nprobe": st.integers() | json_values,
    "min_score": st.floats(allow_nan=False) | json_values,
    "timeout": st.floats(allow_nan=False) | json_values,
    "snapshot": st.integers() | json_values,
    "query_vectors": st.none() | st.lists(st.lists(st.floats(allow_nan=False), max_size=3), max_size=3) | json_values,
    "queries": st.none()
    | st.lists(st.lists(st.lists(st.floats(allow_nan=False), max_size=2), max_size=2))
    | json_values,
    "candidates": st.just("all") | st.integers() | json_values,
    "matches": json_values,
    "more": json_values,
}


@pytest.mark.slow
@OFTEN
@given(body=st.fixed_dictionaries({}, optional=NEARLY))
def test_nearly_a_search(handlers, body):
    status, answer = post(handlers, json.dumps(body))
    assert status in (200, 400, 404, 413, 504), answer
    assert status == 200 or set(answer) == {"error", "message"}


@OFTEN
@given(
    event=json_values
    | st.fixed_dictionaries(
        {},
        optional={
            "requestContext": json_values | st.fixed_dictionaries({"http": json_values}),
            "rawPath": json_values,
            "headers": json_values,
            "body": json_values,
            "isBase64Encoded": json_values,
        },
    )
)
def test_any_web_event(handlers, event):
    answer = handlers["http"](event, None)
    assert 400 <= answer["statusCode"] < 500
    assert set(json.loads(answer["body"])) == {"error", "message"}


def test_a_snapshot_that_is_not_there_is_the_callers_mistake(handlers, index):
    status, answer = post(handlers, json.dumps({"vector": index[2][0].tolist(), "snapshot": 99}))
    assert (status, answer["error"]) == (404, "missing")


def test_the_api_key(handlers, index):
    body = json.dumps({"vector": index[2][0].tolist()})
    assert post(handlers, body)[0] == 200
    for key in ("", "An api key", KEY + " ", hashlib.sha256(KEY.encode()).hexdigest(), "ключ"):
        assert post(handlers, body, key=key)[0] == 401
    assert post(handlers, body, headers=None)[0] == 401
    assert post(handlers, body, headers=[["x-api-key", KEY]])[0] == 400
    assert post(handlers, None, method="GET", path="/openapi.json", headers={})[0] == 200


def test_without_a_key_nobody_is_let_in(handlers, monkeypatch):
    monkeypatch.delenv("VSEARCH_API_KEY_SHA256")
    assert post(handlers, "{}", key="")[0] == 401


def test_paths_methods_and_encodings(handlers, index):
    body = json.dumps({"vectors": index[2][:2].tolist(), "k": 3, "columns": ["word"]})
    assert post(handlers, body, path="/")[0] == 404
    assert post(handlers, body, method="PUT")[0] == 405
    for stage, path, status in (("prod", "/prod/search", 200), ("$default", "/search", 200), ("prod", "/search", 200)):
        assert post(handlers, body, path=path, requestContext=api(stage))[0] == status
    assert post(handlers, body, path="/prod/search", requestContext=api("test"))[0] == 404
    encoded = base64.b64encode(body.encode()).decode()
    assert post(handlers, encoded, isBase64Encoded=True)[1]["hits"] == post(handlers, body)[1]["hits"]
    assert post(handlers, "%%%", isBase64Encoded=True)[0] == 400
    assert post(handlers, '{"where": ' + '{"$and": [' * 3000)[0] == 400
    assert post(handlers, json.dumps({"vector": [0.5] * 16, "k": 10}) + " " * (6 * 1024 * 1024))[0] == 400


def test_an_answer_over_the_limit_is_said_to_be(handlers, index, monkeypatch):
    monkeypatch.setattr(web, "LARGEST_ANSWER", 500)
    status, answer = post(handlers, json.dumps({"vector": index[2][0].tolist()}))
    assert (status, answer["error"]) == (413, "too large")


def test_what_nobody_foresaw_is_an_answer_without_a_trace(handlers, monkeypatch, capsys):
    monkeypatch.setattr(web, "answer", None)
    assert post(handlers, "{}")[0] == 500
    assert "Traceback" in capsys.readouterr().err


def test_a_handler_that_is_not_set_up_says_so(handlers, monkeypatch):
    for role in [*ROLES, "http"]:
        monkeypatch.delenv("VSEARCH_INDEX", raising=False)
        module = reload(import_module(f"functions.{role}"))
        if role == "http":
            answer = module.handler({}, None)
            assert answer["statusCode"] == 500
            assert set(json.loads(answer["body"])) == {"error", "message"}
        else:
            with pytest.raises(CallError, match="VSEARCH_INDEX") as caught:
                open_reply(Envelope(), from_event(module.handler(to_event(b""), None)), role)
            assert caught.value.kind is ErrorKind.INIT


def described():
    return json.loads(Path(functions.__file__).with_name("openapi.json").read_text())


def test_the_description_in_the_functions_folder_is_what_the_handler_gives(handlers):
    from openapi_spec_validator import validate

    validate(described())
    assert described() == web.describe()
    assert post(handlers, None, method="GET", path="/openapi.json")[1] == described()


def test_requests_and_answers_are_as_described(handlers, index):
    from openapi_schema_validator import OAS31Validator

    described_ = described()
    operation = described_["paths"]["/search"]["post"]

    def problems(schema, value):
        whole = {**schema, "components": described_["components"]}
        return [error.message for error in OAS31Validator(whole).iter_errors(value)]

    asked = operation["requestBody"]["content"]["application/json"]["schema"]
    queries = index[2].astype(np.float64).tolist()
    for body in (
        {"vector": queries[0]},
        {"vectors": queries[:2], "k": 3, "where": {"year": {"$gt": 2000}}, "columns": ["word", "year"]},
        {"vector": queries[0], "where": "year > 2000 AND price < 50", "nprobe": 2, "exact": True, "timeout": 5},
        {"query_vectors": queries[:2], "matches": True, "candidates": "all"},
        {"queries": [queries[:2], queries[:1]], "k": 3},
        {"vector": queries[0], "k": 0},
        {"vector": "x"},
        {"vector": queries[0], "where": "year >"},
        {"unknown": 1},
    ):
        status, answer = post(handlers, json.dumps(body))
        schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        assert problems(schema, answer) == []
        assert problems(asked, body) == [] or status == 400
