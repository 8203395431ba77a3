"""A folder in the place of an object store, so that tests see what is read of an index, and when."""

from __future__ import annotations

from vsearch.api.index import Index
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import open_store, read_manifest
from vsearch.storage.stores.metered import MeteredStore


class Bucket(MeteredStore):
    """A folder that is read by ranges, as a bucket is."""

    def memory_map(self, path):
        return None


def opened(folder, kind=Bucket):
    """Return a new bucket of the files in a folder, and the index in it, of which only the model is read."""
    bucket = kind(open_store(str(folder)))
    return bucket, Index(open_snapshot(bucket, read_manifest(bucket)))
