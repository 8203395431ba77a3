"""Small Unigram tokenizers in the format of the library `tokenizers`, written without it."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np

MAPPED = {
    "\t": " ",
    "\r": " ",
    "\u00a0": " ",
    "\u3000": " ",
    "\u00ad": "",
    "\ufb01": "fi",
    "\uff21": "A",
    "e\u0301": "\u00e9",
    "\u00bd": "1/2",
    "\u2460": "1",
}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = [
    "the",
    "a",
    "of",
    "red",
    "green",
    "house",
    "river",
    "search",
    "ing",
    "s",
    "er",
    "fi",
    "A",
    "é",
    "1",
    "1/2",
    "café",
    "日本",
    "日",
    "hello",
    "ello",
]
PIECES = [*["\u2581" + word for word in WORDS[:8]], *WORDS, "\u2581", *"abcdefghilnorstuv", "\u2581caf", "<mask>"]


def character_map(replacements: dict[str, str]) -> bytes:
    """A double array of UTF-8 strings as SentencePiece has it, built by the simplest search for free places."""
    blob, starts = b"", {}
    for text, replacement in replacements.items():
        starts[text.encode()] = len(blob)
        blob += replacement.encode() + b"\0"
    units, used = np.zeros(1 << 14, np.uint32), {0}

    def place(at: int, keys: list[bytes], depth: int) -> None:
        labels = sorted({key[depth] if depth < len(key) else 0 for key in keys})
        base = next(base for base in range(1, 1 << 13) if not any(base ^ label in used for label in labels))
        used.update(base ^ label for label in labels)
        units[at] |= (at ^ base) << 10 | (0x100 if 0 in labels else 0)
        for label in labels:
            below = [key for key in keys if (key[depth] if depth < len(key) else 0) == label]
            if label == 0:
                units[base] = 0x80000000 | starts[below[0]]
            else:
                units[base ^ label] = label
                place(base ^ label, below, depth + 1)

    place(0, list(starts), 0)
    return struct.pack("<I", units.nbytes) + units.tobytes() + blob


def describe_unigram(**changes: Any) -> dict[str, Any]:
    """The contents of tokenizer.json."""
    names = [*SPECIAL, *dict.fromkeys(PIECES)]
    scores = np.round(-np.random.default_rng(5).uniform(2, 12, len(names)) - [len(name) == 1 for name in names], 3)
    rows = [[name, 0.0 if name in SPECIAL else float(score)] for name, score in zip(names, scores, strict=True)]
    flags = {"single_word": False, "rstrip": False, "normalized": False, "special": True}
    added = [
        {"id": names.index(name), "content": name, "lstrip": name == "<mask>"} | flags for name in [*SPECIAL, "<mask>"]
    ]
    ends = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", "</s>")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "Precompiled",
            "precompiled_charsmap": base64.b64encode(character_map(MAPPED)).decode(),
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [ends[0], {"Sequence": {"id": "A", "type_id": 0}}, ends[1]],
            "pair": [
                ends[0],
                {"Sequence": {"id": "A", "type_id": 0}},
                ends[1],
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {
                name: {"id": name, "ids": [row], "tokens": [name]} for name, row in (("<s>", 0), ("</s>", 2))
            },
        },
        "decoder": None,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": rows, "byte_fallback": False},
    } | changes
