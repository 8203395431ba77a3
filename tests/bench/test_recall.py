from __future__ import annotations

from bench import report
from bench.recall import family


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "RESULTS.md"
    body = report.table(["contestant", "x"], [["a|b", 1234.5], ["c", 0.25]])
    report.replace(path, "codes", f"## title\n\n{body}\ntext\n\n{report.table(['other'], [['no']])}")
    report.replace(path, "next", report.table(["z"], [["not this"]]))
    assert report.rows(path, "codes") == [["a|b", "1,234"], ["c", "0.25"]]
    assert report.rows(path, "absent") == []
    assert report.rows(tmp_path / "missing.md", "codes") == []


def test_contestants_of_one_family_share_a_curve():
    assert family("vsearch-osq-0.5") == family("vsearch-osq-4") == "vsearch-osq"
    assert family("vsearch-osq-lloyd-1") == "vsearch-osq-lloyd"
    assert family("faiss-opq48x4") == family("faiss-opq96x4") != family("faiss-opq48x8")
