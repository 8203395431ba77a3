"""Build an index, search it under a filter, tune it to a recall, and measure that on queries it was not tuned with.

Run it with ``python examples/filtered_search.py``. It uses the sample that ships with vsearch, and a temporary folder.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import vsearch

if TYPE_CHECKING:
    from vsearch.search.recall import RecallReport

WHERE = "is_instance AND lexname = 'noun.person'"  # those of the 10,000 glosses that are about a particular person


def main() -> None:
    """Print the result of each step."""
    sample = vsearch.datasets.load("wordnet-10k")
    with tempfile.TemporaryDirectory() as folder:
        index = vsearch.build(sample.vectors, f"{folder}/glosses", attributes=sample.attributes)
        info = index.info()
        print(f"{info['rows']} rows, {info['dimensions']} dimensions, {info['bytes_per_vector']:.0f} bytes per vector")

        number = sample.query_texts.index("English poet (1880-1958)")
        hits = index.search(sample.queries[number], k=3, where=WHERE, columns=["text"])
        print(f"\n{sample.query_texts[number]!r} WHERE {WHERE}")
        for row in hits.to_arrow().to_pylist():
            print(f"  {row['score']:.3f}  {row['text']}")

        # the same filter without SQL text
        same = index.search(
            sample.queries[number], k=3, where=vsearch.col("is_instance") & (vsearch.col("lexname") == "noun.person")
        )
        assert same.ids.tolist() == hits.ids.tolist()

        # tune with half of the queries, measure with the other half
        print("\nbuilt:", describe(index.recall(sample.queries[1::2])))
        report = index.tune(recall=0.99, queries=sample.queries[::2])
        print("tuned:", describe(index.recall(sample.queries[1::2])), "" if report.reached else "(target not reached)")
        print("under the filter:", describe(index.recall(sample.queries[1::2], where=WHERE)))


def describe(report: RecallReport) -> str:
    """Describe a measured recall in one line."""
    return f"recall@{report.k} {report.recall:.3f}, {report.rows_scanned_per_query:.0f} rows scanned per query"


if __name__ == "__main__":
    main()
