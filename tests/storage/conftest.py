from __future__ import annotations

from uuid import uuid4

import pytest

from vsearch.storage import open_store


@pytest.fixture(params=["folder", "memory"])
def place(request, tmp_path) -> str:
    """A URL at which nothing is yet: a folder (mapped), then memory (read as a remote store is)."""
    return str(tmp_path / "index") if request.param == "folder" else f"memory://{uuid4().hex}/index"


@pytest.fixture
def store(place):
    return open_store(place)


@pytest.fixture
def remote():
    return open_store(f"memory://{uuid4().hex}")
