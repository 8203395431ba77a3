from __future__ import annotations

import threading
from uuid import uuid4

import numpy as np
import pytest

from tests.storage.samples import arrays, manifest, write_shard
from vsearch.errors import ConflictError, CorruptIndexError, IndexNotFoundError, InputError, StoreError
from vsearch.storage import SegmentFile, commit, open_files, open_store, prune, read_manifest, verify, write_arrays


@pytest.fixture
def store(s3_url, s3_options):
    return open_store(s3_url, **s3_options)


def test_put_get_ranges_head_and_delete(store):
    store.put("segments/a.arrow", bytes(range(256)))
    assert bytes(store.get("segments/a.arrow")) == bytes(range(256))
    assert bytes(store.get("segments/a.arrow", start=250)) == bytes(range(250, 256))
    assert bytes(store.get("segments/a.arrow", start=3, stop=5)) == b"\x03\x04"
    assert bytes(store.get("segments/a.arrow", start=250, stop=999)) == bytes(range(250, 256))
    ranges = store.get_ranges("segments/a.arrow", [0, 100, 100], [1, 103, 100])
    assert [bytes(part) for part in ranges] == [b"\0", b"def", b""]
    assert store.head("segments/a.arrow").bytes == 256
    store.delete(["segments/a.arrow", "segments/never.arrow"])
    for ask in (store.get, store.head):
        with pytest.raises(FileNotFoundError, match=r"a\.arrow"):
            ask("segments/a.arrow")


def test_read_beyond_the_end_is_an_end_of_file(store):
    store.put("segments/a.arrow", bytes(100))
    out = np.zeros(1000, np.uint8)
    for start, stop in ((50, 150), (500, 600)):
        with pytest.raises(EOFError):
            store.read_into("segments/a.arrow", [start, 0], [stop, 10], out)


def test_create_is_refused_where_something_is(store):
    store.put("manifest/x.json", b"first")
    with pytest.raises(ConflictError, match=r"manifest/x\.json"):
        store.put("manifest/x.json", b"second")
    assert bytes(store.get("manifest/x.json")) == b"first"
    store.put("manifest/x.json", b"third", create=False)
    assert bytes(store.get("manifest/x.json")) == b"third"


def test_listing_goes_over_all_pages(store):
    for i in range(1005):
        store.put(f"manifest/{i:05d}", b"")
    store.put("manifesto/other", b"")
    infos = store.list("manifest")
    assert [info.path for info in infos] == [f"manifest/{i:05d}" for i in range(1005)]


def test_race_of_commits_has_one_winner_each(s3_url, s3_options):
    stores = [open_store(s3_url, **s3_options) for _ in range(6)]
    won: list[tuple[int, str]] = []

    def writer(number):
        for attempt in range(3):
            name = f"writer-{number}-{attempt}"
            barrier.wait()
            try:
                committed = commit(stores[number], manifest(writer=name))
            except ConflictError:
                continue
            won.append((committed.snapshot, name))

    barrier = threading.Barrier(len(stores))
    threads = [threading.Thread(target=writer, args=(i,)) for i in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = sorted(number for number, _ in won)
    assert numbers == list(range(1, len(won) + 1))
    assert len(won) >= 3
    for number, name in won:
        assert read_manifest(stores[0], number).writer == name


def test_arrays_round_trip_and_read_only_what_they_need(store):
    of_file = arrays(40_000)
    entry, sums = write_arrays(store, "segments/a.arrow", of_file)
    file = SegmentFile(store, entry, sums)
    file.ensure("codes", [0, 30_000], [10, 30_010])
    assert np.array_equal(file.array("codes")[30_000:30_010], of_file["codes"][30_000:30_010])
    assert file.requests == 2
    assert file.bytes_read < 5 * 65536 < entry.bytes
    file.ensure_all()
    assert file.bytes_read == entry.bytes
    for name, array in of_file.items():
        assert np.array_equal(file.array(name), array)


def test_upload_in_parts(store, tmp_path):
    data = np.random.default_rng(0).integers(0, 256, 20 << 20, np.uint8)
    local = tmp_path / "big"
    local.write_bytes(data.tobytes())
    store.put_file("segments/big.arrow", local)
    assert not local.exists()
    out = np.zeros(len(data), np.uint8)
    starts = list(range(0, len(data), 1 << 20))
    store.read_into("segments/big.arrow", starts, [start + (1 << 20) for start in starts], out)
    assert np.array_equal(out, data)


def test_whole_cycle_of_snapshots(store):
    for _ in range(3):
        commit(store, manifest(shards=(write_shard(store, 0),)))
    assert verify(store).ok
    report = prune(store, keep=1)
    assert report.snapshots == (1, 2)
    assert read_manifest(store).snapshot == 3
    assert verify(store).ok
    files = open_files(store, read_manifest(store).shards[0])
    for file in files.values():
        file.ensure_all()


def test_truncated_object_is_named(store):
    entry, sums = write_arrays(store, "segments/a.arrow", arrays(40_000))
    data = bytes(store.get("segments/a.arrow"))
    store.put("segments/a.arrow", data[: len(data) // 2], create=False)
    with pytest.raises(CorruptIndexError, match=r"segments/a\.arrow: is shorter"):
        SegmentFile(store, entry, sums).ensure_all()
    store.put("segments/a.arrow", b"\xff" + data[1:], create=False)
    with pytest.raises(CorruptIndexError, match=r"segments/a\.arrow: bytes 0\.\.65536"):
        SegmentFile(store, entry, sums).ensure_all()
    store.delete(["segments/a.arrow"])
    with pytest.raises(CorruptIndexError, match=r"segments/a\.arrow: is missing"):
        SegmentFile(store, entry, sums).ensure_all()


def test_nothing_there_is_no_index(store):
    with pytest.raises(IndexNotFoundError, match="contains no index"):
        read_manifest(store)


def test_wrong_secret_is_denied_in_clear_words(s3_server, s3_url):
    store = open_store(s3_url, **s3_server.options(secret="wrong"))
    for ask in (lambda: read_manifest(store), lambda: store.get("x"), lambda: store.put("x", b"")):
        with pytest.raises(StoreError, match=r"access was denied .*; check the keys") as caught:
            ask()
        assert "wrong" not in str(caught.value)


def test_reader_may_read_but_not_write(s3_server, s3_url, store):
    commit(store, manifest())
    reader = open_store(s3_url, **s3_server.options("reader"))
    assert read_manifest(reader).snapshot == 1
    for change in (lambda: commit(reader, manifest()), lambda: reader.delete(["x"])):
        with pytest.raises(StoreError, match="access was denied"):
            change()


def test_anonymous_reads_a_public_bucket(s3_server):
    name = uuid4().hex
    writer = open_store(f"s3://public/{name}", **s3_server.options())
    commit(writer, manifest(shards=(write_shard(writer, 0),)))
    anyone = open_store(f"s3://public/{name}", endpoint=s3_server.endpoint, anonymous=True)
    assert verify(anyone).ok
    with pytest.raises(StoreError, match="access was denied"):
        anyone.put("x", b"")
    with pytest.raises(StoreError, match="access was denied"):
        read_manifest(open_store(f"s3://vsearch/{name}", endpoint=s3_server.endpoint, anonymous=True))


def test_missing_bucket_is_named(s3_server):
    store = open_store("s3://no-such-bucket/x", **s3_server.options())
    for ask in (lambda: read_manifest(store), lambda: store.get("x"), lambda: store.put("x", b"")):
        with pytest.raises(StoreError, match=r"s3://no-such-bucket/x: there is no such bucket"):
            ask()


def test_endpoint_and_keys_from_the_environment(s3_server, s3_url, store, monkeypatch):
    store.put("x", b"1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "writer")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "writer-secret")
    assert bytes(open_store(s3_url).get("x")) == b"1"


def test_keys_from_a_profile(s3_server, s3_url, store, monkeypatch, tmp_path):
    store.put("x", b"1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    credentials = tmp_path / "credentials"
    credentials.write_text("[team]\naws_access_key_id = writer\naws_secret_access_key = writer-secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert bytes(open_store(s3_url, endpoint=s3_server.endpoint, profile="team").get("x")) == b"1"
    with pytest.raises(InputError, match="nobody"):
        open_store(s3_url, endpoint=s3_server.endpoint, profile="nobody")


def test_nobody_at_the_endpoint(monkeypatch):
    monkeypatch.setattr("vsearch.storage.stores.buckets.RETRIES", 1)
    store = open_store("s3://b/x", endpoint="http://127.0.0.1:9", access_key_id="a", secret_access_key="b")
    with pytest.raises(StoreError, match=r"cannot be reached .*; check the endpoint"):
        store.get("x")


def test_keys_given_are_not_mixed_with_the_environment(s3_server, s3_url, store, monkeypatch):
    store.put("x", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-other-keys")
    assert bytes(open_store(s3_url, **s3_server.options()).get("x")) == b"1"
    anyone = open_store("s3://public", endpoint=s3_server.endpoint, anonymous=True)
    assert bytes(anyone.get("ready")) == b"1"


def test_no_keys_at_all(monkeypatch, tmp_path):
    from vsearch.storage.stores import s3

    for name in (*s3._KEY_SOURCES, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(s3, "_on_an_instance", lambda: False)
    with pytest.raises(StoreError, match="no AWS credentials were found; set AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket/x")


def test_an_empty_manifest(store):
    store.put("manifest/00000000000000000001.json", b"")
    with pytest.raises(CorruptIndexError, match="is not a complete manifest"):
        read_manifest(store)


def test_a_profile_without_keys_leaves_its_region(monkeypatch, tmp_path):
    from vsearch.storage.stores import s3

    for name in (*s3._KEY_SOURCES, "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text("[default]\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3, "_on_an_instance", lambda: True)
    assert s3._keys("s3://bucket", None) == {"region": "eu-west-3"}
    monkeypatch.setattr(s3, "_on_an_instance", lambda: False)
    with pytest.raises(StoreError, match="no AWS credentials were found"):
        open_store("s3://bucket/x")
