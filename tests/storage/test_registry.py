from __future__ import annotations

import inspect
import sys
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from vsearch.deploy.aws.roles import Place
from vsearch.errors import InputError
from vsearch.storage import StoreKind, open_store, probe, register_store
from vsearch.storage.stores import registry
from vsearch.storage.stores.object_store import ObjectStore, open_memory
from vsearch.testing.stores import StoreContract


def open_dust(url, *, grain=1):
    """What a third party writes: here the store of memory by another name."""
    store = open_memory(url.replace("dust://", "memory://"))
    store.grain = grain
    return store


DUST = StoreKind(("dust", "dust2"), "dust", f"{__name__}:open_dust", ("grain",), bucket=True)


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))


@pytest.fixture
def dust(table):
    register_store(DUST)


class TestRegistered(StoreContract):
    """A store of a third party does what ours do."""

    @pytest.fixture
    def store(self, dust):
        return open_store(f"dust://{uuid4().hex}/index")


@pytest.mark.parametrize("kind", registry.BUILT_IN, ids=lambda kind: kind.schemes[0] or "folder")
def test_a_record_names_the_options_that_its_opener_takes(kind):
    parameters = inspect.signature(kind.load()).parameters.values()
    assert tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY) == kind.options


def test_what_is_registered_is_opened_with_its_options(dust):
    assert open_store("dust://b/x").grain == 1
    assert open_store("DUST2://b/x", grain=3, region=None, anonymous=False).grain == 3
    with pytest.raises(InputError, match=r"^nope: no such option of dust:// URLs, which accept grain$"):
        open_store("dust://b/x", nope=1)
    with pytest.raises(InputError, match=r"^grain: only for dust:// URLs, not for 's3://b/x'$"):
        open_store("s3://b/x", grain=1)
    with pytest.raises(InputError, match=r"use a folder, file://, s3://, gs://, az://, memory:// or dust://$"):
        open_store("dusty://b/x")
    with pytest.raises(InputError, match="two slashes must follow the colon"):
        open_store("dust:b/x")


def test_an_index_lives_in_what_is_registered(dust):
    url = f"dust://{uuid4().hex}/index"
    rows = np.eye(20, dtype=np.float32)
    vsearch.build(rows, url)
    assert vsearch.open(url, grain=2).search(rows[3], k=1).ids.tolist() == [[3]]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (DUST, "dust:// is already taken by dust"),
        (StoreKind(("s3",), "mine", "a:b"), "s3:// is already taken by Amazon S3"),
        (StoreKind(("mine", "abfs"), "mine", "a:b"), "abfs:// is already taken by Azure"),
        (StoreKind(("lambda",), "mine", "a:b"), "lambda:// is already taken by stacks of functions"),
        (StoreKind(("",), "mine", "a:b"), "a scheme must be .*, got ''"),
        (StoreKind(("Mine",), "mine", "a:b"), "a scheme must be .*, got 'Mine'"),
        (StoreKind(("c",), "mine", "a:b"), "a scheme must be .*, got 'c'"),
        (StoreKind((), "mine", "a:b"), "must have schemes"),
        (StoreKind(("mine",), "mine", "a.b"), "an opener 'module:function'"),
    ],
)
def test_what_cannot_be_registered(dust, kind, message):
    before = dict(registry._kinds)
    with pytest.raises(InputError, match=message):
        register_store(kind)
    assert registry._kinds == before


def test_entry_points_of_installed_packages_are_found(table, tmp_path, monkeypatch):
    info = tmp_path / "dust-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dust\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[vsearch.stores]\ndust = dust_of_a_package:KIND\nother = dust_of_a_package:X\n"
    )
    (tmp_path / "dust_of_a_package.py").write_text(
        f"from {__name__} import DUST as KIND\nX = 'anything'\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(open_store("dust://b/x"), ObjectStore)
    with pytest.raises(InputError, match=r"'other' of vsearch\.stores must be a StoreKind of other://, got 'anything'"):
        open_store("other://b/x")
    sys.modules.pop("dust_of_a_package")


def test_options_are_refused_where_they_mean_nothing():
    with pytest.raises(InputError, match=r"^region: only for s3:// URLs, not for 'gs://b/x'$"):
        open_store("gs://b/x", region="eu-west-1")
    with pytest.raises(InputError, match=r"^endpoint: only for s3://, gs:// and az:// URLs, not"):
        open_store("memory://b/x", endpoint="https://host")
    with pytest.raises(InputError, match=r"^nope: no such option; a folder takes none$"):
        open_store("/tmp/x", nope=1)


def test_the_root_of_any_bucket_is_warned_of(dust):
    for url in ("gs://b", "az://b", "s3://b", "dust://b"):
        assert registry.find_kind(url.partition(":")[0]).bucket
    store = open_memory(f"memory://{uuid4().hex}")
    store._url = "dust://b"
    with pytest.warns(vsearch.VsearchWarning, match=r"root of its bucket.*: dust://bucket/prefix"):
        probe(store)
    store._url = "dust://b/x"
    probe(store)


def test_stacks_on_aws_refuse_other_stores_by_name():
    for url in ("gs://b/x", "az://c/x", "/folder"):
        with pytest.raises(InputError, match=f"'{url}' is not an s3:// URL; functions on AWS can read nothing"):
            Place.of(url)
