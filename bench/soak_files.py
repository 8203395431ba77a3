"""Damaged files: every file of an index, changed at random. The index gives the same answers, or reports the damage."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

import vsearch
from bench.soak_changes import change_bytes, change_tree
from bench.soak_findings import Finding, raw_error
from vsearch.storage.files.checksums import crc32c

ROWS, DIMENSIONS = 240, 16
KINDS: dict[str, dict[str, Any]] = {
    "osq": {"metric": "l2", "bits": 3.0, "shards": 2, "partitions": 6},
    "cells": {"metric": "cosine", "quantizer": "osq-lloyd", "bits": 2.0, "partitions": 5, "rerank": "float16"},
    "pq": {"metric": "ip", "quantizer": "pq", "bits": 2.0, "partitions": 4, "rerank": None},
}
WHERES = (None, "number < 20", "price > 0.25 AND price < 0.5", "name LIKE 'row 1%'", "list_contains(tags, 'b')")


class Fuzzer:
    """Changes one file of an index in each try, and reads everything.

    Parameters
    ----------
    folder : Path
        For this fuzzer alone; its indexes are built once.
    """

    def __init__(self, folder: Path) -> None:
        self.tried = ""
        self._folder = folder
        rng = np.random.default_rng(0)
        self._queries = rng.standard_normal((2, DIMENSIONS)).astype(np.float32)
        self._documents = [rng.standard_normal((n, DIMENSIONS)).astype(np.float32) for n in rng.integers(1, 7, 60)]
        for kind in (*KINDS, "documents"):
            if not (folder / kind).exists():
                self._build(kind, rng)
        self._right = {kind: self._use(folder / kind, kind) for kind in (*KINDS, "documents")}

    def _build(self, kind: str, rng: np.random.Generator) -> None:
        numbers = np.arange(ROWS)
        table = pa.table(
            {
                "number": pa.array(numbers % 50, mask=numbers % 7 == 0),
                "price": rng.random(ROWS),
                "name": [f"row {i}" for i in numbers],
                "tags": [["a", "b"][: i % 3] for i in numbers],
            }
        )
        if kind == "documents":
            first_rows = table.slice(0, len(self._documents))
            vsearch.build_documents(self._documents, None, self._folder / kind, attributes=first_rows, residual_bits=2)
        else:
            vectors = rng.standard_normal((ROWS, DIMENSIONS)).astype(np.float32)
            ids = [f"id {i}" for i in numbers] if kind == "osq" else None
            vsearch.build(vectors, self._folder / kind, attributes=table, ids=ids, **KINDS[kind])

    def _use(self, folder: Path, kind: str) -> list[Any]:
        """Open an index and read everything in it; return its answers."""
        index = vsearch.open(folder)
        if kind == "documents":
            hits = index.search_documents(self._documents[0], k=60, where="number < 40", columns=["name"], matches=True)
            return [hits.to_arrow().to_pylist(), index.get([1, 5, 7]).to_pylist()]
        answers = [
            index.search(self._queries, k=ROWS, where=where, exact=exact) for where in WHERES for exact in (False, True)
        ]
        rows = index.search(self._queries, k=ROWS, columns=["number", "price", "name", "tags"]).to_arrow().to_pylist()
        fetched = index.get(["id 1", "id 77"] if kind == "osq" else [1, 77]).to_pylist()
        return [[(hits.ids.tolist(), np.nan_to_num(hits.scores, nan=-1).tolist()) for hits in answers], rows, fetched]

    def attempt(self, rng: Random) -> str:
        """Run one try; return how it ended: right or refused.

        Raises
        ------
        Finding
        """
        kind = rng.choice(sorted(self._right))
        files = sorted(path for path in (self._folder / kind).rglob("*") if path.is_file())
        victim = rng.choice(files)
        copy = self._folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self._folder / kind, copy, copy_function=os.link)
        target = copy / victim.relative_to(self._folder / kind)
        target.unlink()
        data, forged = victim.read_bytes(), False
        if victim.parent.name == "manifest" and rng.random() < 0.7:
            forged = True
            what, changed = _forge(rng, data)
        elif rng.random() < 0.05:
            what, changed = rng.choice((("removed", None), ("a folder instead", None)))
            if what != "removed":
                target.mkdir()
        else:
            what, changed = change_bytes(rng, data, rng.choice(files).read_bytes())
        if changed is not None:
            target.write_bytes(changed)
        self.tried = f"{kind}, {victim.relative_to(self._folder / kind)}: {what}"
        outcome = self._judge(copy, kind, forged=forged)
        report = _verified(copy)
        if changed != data and not forged and report:
            raise Finding("wrong", "verify finds nothing")
        return outcome

    def _judge(self, copy: Path, kind: str, *, forged: bool) -> str:
        try:
            answers = self._use(copy, kind)
        except vsearch.VsearchError:
            return "refused"
        except BaseException as error:
            raise raw_error(error) from error
        # a forged checksum can make anything valid: all that is required is that reading does no harm
        if not forged and answers != self._right[kind]:
            raise Finding("wrong", "other answers than before the damage")
        return "right"


def _forge(rng: Random, data: bytes) -> tuple[str, bytes]:
    """Forge a manifest with other content and a valid checksum."""
    what, body = change_tree(rng, json.loads(data)["manifest"])
    text = json.dumps(body, default=repr).encode()
    return f"forged, {what}", b'{"crc32c":"%08x","manifest":%b}\n' % (crc32c(text), text)


def _verified(folder: Path) -> bool:
    """Whether `verify` finds no damage."""
    try:
        return vsearch.verify(folder).ok
    except vsearch.VsearchError:
        return False
    except BaseException as error:
        raise raw_error(error) from error
