from __future__ import annotations

import pytest

import vsearch
from vsearch.errors import InputError
from vsearch.fanout.platforms.connections import Connections
from vsearch.storage import open_store
from vsearch.storage.stores.urls import redacted, without_secrets

SECRET = "wJalrXUtnFEMI"
REJECTED = [
    f"s3://AKIAEXAMPLE:{SECRET}@bucket/prefix",
    f"s3://AKIAEXAMPLE:{SECRET}/K7MDENG+x@bucket/prefix",
    f"S3://AKIAEXAMPLE:{SECRET}?x@bucket/prefix",
    f"s3:/AKIAEXAMPLE:{SECRET}@bucket/prefix",
    f"s3://{SECRET}@bucket/prefix",
    f"s3://bucket/prefix?X-Amz-Credential=AKIAEXAMPLE&X-Amz-Signature={SECRET}",
    f"s3://bucket/prefix#{SECRET}",
    f"https://bucket.s3.amazonaws.com/prefix?X-Amz-Signature={SECRET}",
    f"https://user:{SECRET}@example.org/index",
    f"https://user:{SECRET}@[example.org/index",
    f"gs://user:{SECRET}@bucket/index",
    f"file://user:{SECRET}@host/index",
    f"memory://user:{SECRET}@[/index",
    f"lambda://user:{SECRET}@[stack",
    f"lambda://stack/{SECRET}@x:y",
    f"lambda://stack/x?token={SECRET}",
]


def messages(error: BaseException | None) -> str:
    """All that a traceback would show."""
    parts = []
    while error is not None:
        parts.append(f"{error} {error!r}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return " ".join(parts)


@pytest.mark.parametrize("url", REJECTED)
def test_rejected_urls_show_no_secrets(url):
    for ask in (vsearch.open, lambda url: vsearch.build([[1.0]], url), lambda url: open_store(url, region="x")):
        with pytest.raises(InputError) as caught:
            ask(url)
        assert SECRET not in messages(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        f"https://key:{SECRET}@host",
        f"ftp://key:{SECRET}@host",
        f"key:{SECRET}@host",
        f"https://host?sig={SECRET}",
        f"http://key:{SECRET}@[host",
        f"http://host:{SECRET}",
    ],
)
def test_rejected_endpoints_show_no_secrets(endpoint):
    keys = {"access_key_id": "a", "secret_access_key": SECRET}
    with pytest.raises(InputError) as caught:
        open_store("s3://bucket/x", endpoint=endpoint, **keys)
    assert SECRET not in messages(caught.value)
    if "sig=" not in endpoint and "https" not in endpoint:
        with pytest.raises(InputError) as caught:
            Connections(endpoint)
        assert SECRET not in messages(caught.value)


def test_urls_without_secrets_are_shown_as_they_are():
    for url in ("s3://bucket/prefix", "https://host:9000/path", "/a/folder", "memory://x", "folder@2", ""):
        assert redacted(url) == url
    said = "error sending request for url (https://key:secret@host/bucket/x?X-Amz-Signature=1)"
    assert without_secrets(said) == "error sending request for url (https://***@host/bucket/x?***)"


def test_a_folder_may_have_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run:").mkdir()
    with pytest.raises(InputError, match="two slashes must follow the colon"):
        open_store("run:/index")
    assert open_store("./run:/index").url.endswith("/run:/index")
