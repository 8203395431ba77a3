"""The same commands against a bucket: keys from the environment, the endpoint by option, public buckets without keys."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.seaweed import PUBLIC


@pytest.fixture
def keys(s3_options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and region where the AWS tools look for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_options["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_options["secret_access_key"])
    monkeypatch.setenv("AWS_REGION", s3_options["region"])


@pytest.mark.slow
@pytest.mark.usefixtures("keys")
def test_a_bucket_by_endpoint(run, files, s3_server, s3_url: str) -> None:
    there = ("--endpoint", s3_server.endpoint)
    built = run("build", files.vectors, s3_url, "--attributes", files.attributes, *there, "--json")
    assert built.status == 0, built.errors
    arguments = (files.queries, "--k", 3, "--where", "price < 100", "--exact", "--json")
    remote = run("search", s3_url, *arguments, *there)
    local = run("search", files.index, *arguments)
    assert [[hit["id"] for hit in one["hits"]] for one in remote.json["queries"]] == [
        [hit["id"] for hit in one["hits"]] for one in local.json["queries"]
    ]
    assert run("verify", s3_url, *there).status == 0
    assert run("build", files.vectors, s3_url, *there).status == 2


@pytest.mark.usefixtures("keys")
def test_a_public_bucket_without_keys(run, files, s3_server, monkeypatch: pytest.MonkeyPatch) -> None:
    there = ("--endpoint", s3_server.endpoint)
    url = f"s3://{PUBLIC}/{uuid4().hex}"
    assert run("build", files.vectors, url, *there).status == 0
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = run("search", url, files.queries, "--row", 0, "--json", "--anonymous", *there)
    assert found.status == 0, found.errors
    assert len(found.json["queries"][0]["hits"]) == 10
    refused = run("build", files.vectors, url, "--overwrite", "--anonymous", *there)
    assert refused.status == 2
    assert refused.errors.count("\n") == 1
