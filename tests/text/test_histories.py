"""Queries of all kinds after random histories, against an evaluation of the query syntax row by row that knows no postings."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import vectors

COLUMNS = {"title": 2.0, "body": 1.0}
SPLIT = {"日本語": ["日本", "本語"], "Éta": ["eta"], "МИР": ["мир"]}
WORDS = [first + second for first in "abcdefgh" for second in "klmnop"] + list(SPLIT)
K1, B = 1.2, 0.75

Clause = tuple[str, str | None, str, str]
"""Sign, column, kind and text."""


def terms(text):
    return [term for word in (text or "").split() for term in SPLIT.get(word, [word])]


@dataclass
class Plain:
    """Rows by id: texts of both columns, and a number."""

    rows: dict[int, tuple[dict[str, str | None], int]]
    matched: dict = field(default_factory=dict)

    def __post_init__(self):
        self.cut = {name: {row: terms(texts[name]) for row, (texts, _) in self.rows.items()} for name in COLUMNS}

    def match(self, column, kind, text):
        """How often each row has a term, a phrase, or (once) a word with a beginning."""
        if (column, kind, text) not in self.matched:
            counts = {}
            for row, cut in self.cut[column].items():
                if kind == "prefix":
                    counts[row] = int(any(term.startswith(text) for term in cut))
                else:
                    counts[row] = sum(tuple(cut[at : at + len(text)]) == text for at in range(len(cut) - len(text) + 1))
            self.matched[column, kind, text] = {row: count for row, count in counts.items() if count}
        return self.matched[column, kind, text]

    def gains(self, column, kind, text):
        """What each row gains, by Lucene's formula; a phrase has the sum of the idf of its terms, a prefix a row of mean length."""
        lengths = [len(cut) for cut in self.cut[column].values() if cut]
        mean = sum(lengths) / len(lengths) if lengths else 1.0
        parts = [(column, "prefix", text)] if kind == "prefix" else [(column, "phrase", (term,)) for term in text]
        idf = 0.0
        for part in parts:
            n = len(self.match(*part))
            idf += math.log(1 + (len(lengths) - n + 0.5) / (n + 0.5))
        gains = {}
        for row, count in self.match(column, kind, text).items():
            length = mean if kind == "prefix" else len(self.cut[column][row])
            gains[row] = COLUMNS[column] * idf * count / (count + K1 * (1 - B + B * length / mean))
        return gains

    def scores(self, clauses, below):
        """The scores of the rows that match, by id."""
        sums, counted = Counter(), Counter()
        conditions = []
        for sign, column, kind, text in clauses:
            options = []
            for name in [column] if column else COLUMNS:
                if kind == "word":
                    options.append([(name, "phrase", (term,)) for term in terms(text)])
                else:
                    options.append([(name, kind, text if kind == "prefix" else tuple(terms(text)))])
            conditions += [(sign, options)] if sign else []
            if sign != "-":
                counted.update(part for option in options for part in option)
        for part, times in counted.items():
            for row, gain in self.gains(*part).items():
                sums[row] += times * gain
        for sign, options in conditions:
            for row in list(sums):
                meets = any(all(row in self.match(*part) for part in option) for option in options)
                if meets != (sign == "+"):
                    del sums[row]
        return {row: score for row, score in sums.items() if self.rows[row][1] < below}


def make_query(rng):
    clauses: list[Clause] = []
    for _ in range(rng.choice([1, 1, 2, 3, 6])):
        kind = rng.choice(["word", "word", "word", "prefix", "phrase"])
        text = rng.choice(WORDS)
        if kind == "prefix":
            text = rng.choice("abcdefgh") + rng.choice(["", "k", "l"])
        elif kind == "phrase":
            text = " ".join(rng.choices(WORDS[:20], k=rng.choice([1, 2, 2, 3])))
        clauses.append((rng.choice(["", "", "", "+", "-"]), rng.choice([None, None, None, *COLUMNS]), kind, text))
    if all(clause[0] == "-" for clause in clauses):
        clauses.append(("", None, "word", rng.choice(WORDS)))
    spelled = {"word": "{}", "prefix": "{}*", "phrase": '"{}"'}
    query = " ".join(
        sign + (f"{column}:" if column else "") + spelled[kind].format(text) for sign, column, kind, text in clauses
    )
    return clauses, query


def check(index, rows, rng, count):
    plain = Plain(rows)
    for number in range(count):
        clauses, query = make_query(rng)
        if number % 2:  # plain words, which take a way of their own
            words = rng.choices(WORDS, k=rng.choice([1, 2, 3, 9]))
            clauses, query = [("", None, "word", word) for word in words], " ".join(words)
        k, below = rng.choice([1, 3, 10, 2000]), rng.choice([10**6, 10**6, 200, 30, 5])
        where = None if below == 10**6 else f"number < {below}"
        expected = plain.scores(clauses, below)
        hits, again = index.search_text(query, k, where), index.search_text([query], k, where)
        assert hits.ids.tolist() == again.ids.tolist(), query
        np.testing.assert_array_equal(hits.scores, again.scores)
        best = [int(row) for row in hits.ids[0] if row != -1]
        assert len(best) == min(k, len(expected)), query
        scores = hits.scores[0, : len(best)]
        np.testing.assert_allclose(scores, [expected[row] for row in best], 1e-4, err_msg=query)
        np.testing.assert_allclose(scores, sorted(expected.values(), reverse=True)[:k], 1e-4, err_msg=query)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_scores_after_random_histories(seed):
    rng = random.Random(seed)

    def text(most):
        length = rng.randint(-1, most)
        chosen = rng.choices(WORDS, [1 / (place + 1) for place in range(len(WORDS))], k=max(length, 0))
        return None if length < 0 else " ".join(chosen)

    def make(ids):
        return {row: ({"title": text(5), "body": text(30)}, row) for row in ids}

    def table(new):
        columns = {name: pa.array([texts[name] for texts, _ in new.values()], pa.string()) for name in COLUMNS}
        return pa.table({**columns, "number": pa.array([number for _, number in new.values()], pa.int64())})

    count = rng.choice([30, 400])
    rows, url = make(range(count)), f"memory://text/histories-{seed}"
    settings = {name: vsearch.TextColumn(weight, phrases=True) for name, weight in COLUMNS.items()}
    index = vsearch.build(
        vectors(count),
        url,
        table(rows),
        np.arange(count),
        text=settings,
        shards=1 + seed % 3,
        partitions=6,
        overwrite=True,
    )
    check(index, rows, rng, 8)
    snapshots, following = [], count
    for turn in range(9):
        changes = ["append", "upsert", "delete", "update", "optimize", "retrain", "open", "travel"]
        change = rng.choice(changes)
        if change in ("append", "upsert"):
            known = rng.sample(sorted(rows), min(9, len(rows))) if change == "upsert" else []
            new = make([*known, *range(following, following + rng.choice([1, 60]))])
            getattr(index, change)(vectors(len(new), turn), table(new), list(new))
            rows, following = rows | new, max(following, *new) + 1
        elif change == "delete":
            gone = set(rng.sample(sorted(rows), len(rows) // 5))
            index.delete(list(gone))
            rows = {row: values for row, values in rows.items() if row not in gone}
        elif change == "update":
            changed = {row: text(30) for row in rng.sample(sorted(rows), min(12, len(rows)))}
            index.update({"body": pa.array(list(changed.values()), pa.string())}, ids=list(changed))
            rows = rows | {row: ({**rows[row][0], "body": body}, rows[row][1]) for row, body in changed.items()}
        elif change == "optimize":
            index.optimize(force=True)
        elif change == "retrain":
            index.retrain()
        elif change == "open":
            index = vsearch.open(url)
        elif snapshots:
            number, then = rng.choice(snapshots)
            check(vsearch.open(url, snapshot=number), then, rng, 3)
        snapshots.append((index.snapshot.manifest.snapshot, rows))
        check(index, rows, rng, 5)
