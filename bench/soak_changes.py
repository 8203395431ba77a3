"""Random mutations of bytes and of trees of values, for the fuzzers, like those by a bad disk, network or peer."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

EXTREMES = (
    0,
    1,
    -1,
    127,
    128,
    255,
    256,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**64 - 1,
)

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(2**63), 1e308, -0.0, 1e-320, 0.5, float("nan"), float("inf"), "", "a",
    "\0", "é", "x" * 5000, "../../etc/passwd", [], [[]], [0], {}, {"a": {}}, b"", b"\0" * 9, [1.0] * 33, "NULL", "1 OR 1 = 1",
)  # fmt: skip


def change_bytes(rng: Random, data: bytes, other: bytes) -> tuple[str, bytes]:
    """Mutate a file or message; `other` is a similar one. Return what was done, and the bytes."""
    name = rng.choice(sorted(_BYTES))
    return name, _BYTES[name](rng, data, other)


def _place(rng: Random, data: bytes) -> int:
    """A random position, often near an end, where headers and footers are."""
    length = len(data)
    if rng.random() < 0.5:
        near = rng.randrange(min(length, 512) + 1)
        return near if rng.random() < 0.5 else length - near
    return rng.randrange(length + 1)


def _flip(rng: Random, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 8)) if changed else 0):
        changed[min(_place(rng, data), len(data) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: Random, data: bytes, other: bytes) -> bytes:
    at, length = _place(rng, data), rng.choice((1, 4, 8, 64, 4096))
    piece = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length), other[at : at + length]))
    return (data[:at] + piece + data[at + len(piece) :])[: len(data)]


def _number(rng: Random, data: bytes, _: bytes) -> bytes:
    """Overwrite a possible length or offset."""
    size = rng.choice((1, 2, 4, 8))
    at = _place(rng, data) // size * size
    value = (rng.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))
    return (data[:at] + value + data[at + size :])[: len(data)]


def _splice(rng: Random, data: bytes, other: bytes) -> bytes:
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def _cut_out(rng: Random, data: bytes, _: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice((1, 8, 64, 1024)) :]


def _insert(rng: Random, data: bytes, _: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.randbytes(rng.choice((1, 8, 64, 1024))) + data[at:]


_BYTES: dict[str, Callable[[Random, bytes, bytes], bytes]] = {
    "bits flipped": _flip,
    "a piece overwritten": _overwrite,
    "a number changed": _number,
    "spliced with another": _splice,
    "truncated": lambda rng, data, _: data[: _place(rng, data)],
    "lengthened": lambda rng, data, _: data + rng.randbytes(rng.choice((1, 8, 4096))),
    "a piece cut out": _cut_out,
    "a piece put in": _insert,
    "emptied": lambda *_: b"",
    "swapped with another": lambda _rng, _data, other: other,
}


def change_tree(rng: Random, tree: Any) -> tuple[str, Any]:
    """Mutate a copy of a tree of dicts, lists and values at one place. Return what was done, and the new tree."""
    path: list[Any] = []
    node = tree
    while isinstance(node, (dict, list, tuple)) and node and rng.random() < 0.85:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        path.append(key)
        node = node[key]
    what, value = _change_value(rng, node)
    if isinstance(node, dict) and rng.random() < 0.3:
        what, value = "a key added", {**node, rng.choice(("surprise", "", "where", "kind")): rng.choice(VALUES)}
    if path and rng.random() < 0.1:
        return f"{_name(path)} removed", _with(tree, path, None, remove=True)
    return f"{_name(path)}: {what}", _with(tree, path, value)


def _name(path: list[Any]) -> str:
    return ".".join(str(part)[:40] for part in path) or "all"


def _change_value(rng: Random, value: Any) -> tuple[str, Any]:
    if rng.random() < 0.3:
        other = rng.choice(VALUES)
        return f"{str(other)[:20]!r} instead", other
    if isinstance(value, bool):
        return "inverted", not value
    if isinstance(value, int):
        number = rng.choice((value + 1, value - 1, -value, value * 2, rng.choice(EXTREMES), rng.randrange(50)))
        return f"{number} instead", number
    if isinstance(value, float):
        number = rng.choice((-value, value * 1e30, value + 1, 0.0, float("nan"), float("inf")))
        return f"{number} instead", number
    if isinstance(value, bytes):
        return change_bytes(rng, value, value[::-1])
    if isinstance(value, str):
        what, data = change_bytes(rng, value.encode(), value[::-1].encode())
        return what, data.decode(errors="replace")
    if isinstance(value, (list, tuple)) and value:
        several = list(value)
        return rng.choice((("doubled", several * 2), ("reversed", several[::-1]), ("shortened", several[:-1])))
    other = rng.choice(VALUES)
    return f"{str(other)[:20]!r} instead", other


def _with(tree: Any, path: list[Any], value: Any, *, remove: bool = False) -> Any:
    """The tree with another value at a path, or without that entry."""
    if not path:
        return value
    key, *inner = path
    if isinstance(tree, dict):
        if remove and not inner:
            return {name: item for name, item in tree.items() if name != key}
        return {**tree, key: _with(tree[key], inner, value, remove=remove)}
    several = list(tree)
    if remove and not inner:
        del several[key]
    else:
        several[key] = _with(several[key], inner, value, remove=remove)
    return several
