from __future__ import annotations

from itertools import count

import pytest

import vsearch


@pytest.fixture(scope="session")
def build_once(tmp_path_factory):
    """Build an index, or open the one that was built with the same name before."""
    places, numbers = {}, count()

    def build(name, vectors, **options):
        if name not in places:
            places[name] = tmp_path_factory.mktemp("indexes") / f"index-{next(numbers)}"
            vsearch.build(vectors, places[name], **options)
        return vsearch.open(places[name])

    return build
