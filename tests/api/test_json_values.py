"""Values of rows for people and models."""

from __future__ import annotations

import json

from vsearch.api.json_values import to_json_value


def test_values_of_rows_are_cut_together():
    """A model has to read them: lists are bounded as texts are."""
    assert to_json_value(list(range(50)), 1000) == list(range(50))
    assert to_json_value(list(range(5000)), 1000) == [*range(100), "\u2026"]
    assert to_json_value([["a" * 40] * 5000], 1000)[0][-1] == "\u2026"
    for value in ("a" * 100_000, ["b" * 600] * 100_000, [["c"] * 1000] * 1000, {"d": list(range(10**5))}):
        assert len(json.dumps(to_json_value(value, 1000))) < 300_000
    rows = [{"row": row} for row in range(500)]
    assert to_json_value(rows, 1000) == rows  # objects are not values of attributes
