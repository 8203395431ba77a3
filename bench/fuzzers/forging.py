"""Forged files of an index: arbitrary arrays, columns and facts with valid checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import numpy as np
from google_crc32c import value as crc32c
from numpy.typing import NDArray

from bench.fuzzers.hostile_arrays import change_array
from bench.soak_changes import change_tree
from vsearch.storage import Store, open_files, read_manifest
from vsearch.storage.files.bundle import BundleEntry, HeaderEntry, PartEntry, encode_header, open_bundle
from vsearch.storage.files.checksums import chunk_checksums
from vsearch.storage.files.entries import ALIGNMENT, ArrayEntry, ColumnEntry, FileEntry
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.files.segment_file import SegmentFile
from vsearch.storage.snapshots.kinds import CHECKSUMS
from vsearch.storage.snapshots.manifest import Manifest, SegmentEntry
from vsearch.storage.snapshots.shards import join_checksums

Array = NDArray[Any]


@dataclass(eq=False)
class Part:
    """One part of a bundle, or one file: its arrays, its columns, and the number of rows in its entry."""

    arrays: dict[str, Array]
    columns: list[ColumnEntry] = field(default_factory=list)
    rows: int = 0

    @classmethod
    def of(cls, file: SegmentFile) -> Part:
        """The contents of a file."""
        file.ensure_all()
        arrays = {name: file.array(name).copy() for name in file.arrays}
        return cls(arrays, list(file.entry.columns), file.entry.rows)

    @property
    def stated_rows(self) -> int:
        """Number of rows in the entry of these arrays: 0 if they differ in length."""
        if self.columns:
            return self.rows
        lengths = {array.shape[0] for array in self.arrays.values()}
        return lengths.pop() if len(lengths) == 1 else 0


@dataclass(eq=False)
class Contents:
    """The contents of a bundle."""

    parts: dict[str, Part]
    facts: dict[str, Any]

    @classmethod
    def of(cls, store: Store, entry: BundleEntry) -> Contents:
        """Read a bundle."""
        bundle = open_bundle(store, entry)
        return cls({name: Part.of(file) for name, file in bundle.files.items()}, dict(bundle.facts))


def _lay_out(parts: Mapping[str, Part]) -> tuple[bytearray, dict[str, tuple[ArrayEntry, ...]]]:
    data, entries = bytearray(ALIGNMENT), {}
    for name, part in parts.items():
        placed = []
        for array_name, array in part.arrays.items():
            placed.append(ArrayEntry(array_name, array.dtype.name, array.shape, len(data)))
            data += np.ascontiguousarray(array).tobytes()
            data += bytes(-len(data) % ALIGNMENT)
        entries[name] = tuple(placed)
    return data, entries


def write_contents(store: Store, path: str, contents: Contents) -> BundleEntry:
    """Write a bundle with arbitrary contents and valid checksums."""
    data, arrays = _lay_out(contents.parts)
    entries = tuple(
        PartEntry(name, part.stated_rows, arrays[name], tuple(part.columns)) for name, part in contents.parts.items()
    )
    start, sums = len(data), chunk_checksums(np.frombuffer(data, np.uint8))
    header = encode_header(entries, contents.facts, sums)
    content = bytes(data) + header
    store.put(path, content)
    return BundleEntry(path, len(content), crc32c(content), HeaderEntry(start, len(header), crc32c(header)))


def write_part(store: Store, path: str, part: Part) -> FileEntry:
    """Write a file of arrays or columns with arbitrary contents."""
    data, arrays = _lay_out({"": part})
    store.put(path, bytes(data))
    return FileEntry(path, len(data), crc32c(bytes(data)), part.stated_rows, arrays[""], tuple(part.columns))


def put_manifest(store: Store, body: Any, snapshot: int) -> None:
    """Replace a manifest by another, valid or not."""
    text = msgspec.json.encode(body)
    data = b'{"crc32c":"%08x","manifest":%b}\n' % (crc32c(text), text)
    store.put(manifest_path(snapshot), data, create=False)


def forge(rng: Random, store: Store) -> str:
    """Forge one thing in the newest snapshot of a store; return a description."""
    manifest = read_manifest(store)
    chosen = rng.choice(["bundle"] * 8 + ["model", "base", "entry", "entry", "manifest", "swap"])
    return _FORGERIES[chosen](rng, store, manifest)


def _segments(manifest: Manifest) -> list[tuple[Any, ...]]:
    """Paths of the segment entries in a manifest."""
    shards = [
        ("shards", number, name)
        for number, shard in enumerate(manifest.shards)
        for name in ("base", "young")
        if getattr(shard, name)
    ]
    return shards + [("live", "deltas", place) for place in range(len(manifest.live.deltas if manifest.live else ()))]


def _at(manifest: Manifest, place: tuple[Any, ...]) -> SegmentEntry:
    value: Any = manifest
    for key in place:
        value = value[key] if isinstance(key, int) else getattr(value, key)
    return value


def _replaced(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return other
    key, *inner = place
    if isinstance(key, int):
        return (*value[:key], _replaced(value[key], tuple(inner), other), *value[key + 1 :])
    if isinstance(value, dict):
        return {**value, key: _replaced(value[key], tuple(inner), other)}
    return msgspec.structs.replace(value, **{key: _replaced(getattr(value, key), tuple(inner), other)})


def _kind_of(place: tuple[Any, ...]) -> str:
    return "delta" if place[0] == "live" else str(place[-1])


def _forge_bundle(rng: Random, store: Store, manifest: Manifest) -> str:
    place = rng.choice(_segments(manifest))
    segment = _at(manifest, place)
    contents = Contents.of(store, segment.bundle)
    others = [Contents.of(store, _at(manifest, other).bundle) for other in _segments(manifest)]
    done = [_change_contents(rng, contents, rng.choice(others)) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    rows = segment.rows
    if rng.random() < 0.15:
        rows, what = _cut(rng, contents, rows)
        done.append(what)
    bundle = write_contents(store, "segments/forged.arrow", contents)
    segment = msgspec.structs.replace(segment, bundle=bundle, rows=rows)
    manifest = _replaced(manifest, place, segment)
    if rng.random() < 0.7 and rows != _at(read_manifest(store), place).rows:
        less = _at(read_manifest(store), place).rows - rows
        manifest = msgspec.structs.replace(manifest, rows=max(0, manifest.rows - less))
        if place[-1] == "base":
            manifest = _replaced(manifest, (*place[:2], "rows"), rows)
    put_manifest(store, manifest, manifest.snapshot)
    return f"{_kind_of(place)} {place[1:]}: {', '.join(done)}"


def _cut(rng: Random, contents: Contents, rows: int) -> tuple[int, str]:
    """Drop or duplicate rows at the end of all arrays of the same length."""
    now = rng.choice((max(0, rows - 1), 0, rows + 1, rows // 2))
    for part in contents.parts.values():
        for name, array in part.arrays.items():
            if len(array) == rows and rows:
                part.arrays[name] = np.concatenate([array, array[:1]])[:now]
        part.rows = now if part.rows == rows else part.rows
    return now, f"{now} rows instead of {rows}"


def _change_contents(rng: Random, contents: Contents, other: Contents) -> str:
    way = rng.random()
    if way < 0.08:
        what, changed = change_tree(rng, contents.facts)
        contents.facts = changed if isinstance(changed, dict) else {}
        return f"facts {what}"
    if not contents.parts:
        return "nothing"
    name = rng.choice(sorted(contents.parts))
    if way < 0.14:
        del contents.parts[name]
        return f"without {name}"
    if way < 0.18 and other.parts:
        other_name = name if name in other.parts and rng.random() < 0.8 else rng.choice(sorted(other.parts))
        part = other.parts[other_name]
        contents.parts[name] = Part(dict(part.arrays), list(part.columns), part.rows)
        return f"{name} is {other_name} of another"
    return f"{name} {_change_part(rng, contents.parts[name])}"


def _change_part(rng: Random, part: Part) -> str:
    if part.columns and rng.random() < 0.35:
        return _change_column(rng, part)
    if not part.arrays:
        part.arrays["surprise"] = np.arange(3)
        return "with a surprise"
    name, way = rng.choice(sorted(part.arrays)), rng.random()
    if way < 0.06:
        del part.arrays[name]
        return f"without {name}"
    if way < 0.1:
        other = rng.choice(sorted(part.arrays))
        part.arrays[name], part.arrays[other] = part.arrays[other], part.arrays[name]
        return f"{name} and {other} swapped"
    what, part.arrays[name] = change_array(rng, part.arrays[name])
    return f"{name} {what}"


TYPES = (
    "int64",
    "int8",
    "float64",
    "float16",
    "string",
    "large_string",
    "bool",
    "list<string>",
    "list<int64>",
    "large_list<large_string>",
    "timestamp[us]",
    "timestamp[ns, tz=UTC]",
    "date32",
    "decimal128(9, 2)",
    "decimal128(38, 37)",
    "nothing",
)


def _change_column(rng: Random, part: Part) -> str:
    place = rng.randrange(len(part.columns))
    column, way = part.columns[place], rng.random()
    if way < 0.4:
        part.columns[place] = msgspec.structs.replace(column, type=rng.choice(TYPES))
        return f"{column.name} of type {part.columns[place].type} instead of {column.type}"
    if way < 0.6:
        part.columns[place] = msgspec.structs.replace(column, nulls=rng.choice((0, 1, part.rows)))
        return f"{column.name} with {part.columns[place].nulls} nulls"
    if way < 0.75:
        del part.columns[place]
        return f"without the column {column.name}"
    if way < 0.85:
        part.columns[place] = msgspec.structs.replace(column, name=f"{column.name}x")
        return f"{column.name} renamed"
    part.rows = rng.choice((0, part.rows + 1, max(0, part.rows - 1), part.rows * 2, 2**31, 2**40))
    return f"{part.rows} rows of columns"


def _forge_entry(rng: Random, store: Store, manifest: Manifest) -> str:
    """Change a number in a segment entry, or in its shard entry."""
    place = rng.choice(_segments(manifest))
    segment = _at(manifest, place)
    name = rng.choice(("rows", "removed", "number", "ids", "level", "shard"))
    if name == "shard":
        number = rng.randrange(len(manifest.shards))
        of, value = rng.choice(("rows", "partitions")), rng.choice((0, 1, 2, 7, 2**20, 2**40, 2**62))
        manifest = _replaced(manifest, ("shards", number, of), value)
        what = f"shard {number}: {of} {value}"
    else:
        now = getattr(segment, name)
        value: Any = rng.choice((0, 1, 2, 5, 2**31, 2**32, 2**40, 2**62, (now or 0) + 1 if name != "ids" else 3))
        if name == "ids":
            value = rng.choice((None, (0, 0), (5, 1), (-(2**63), 2**63 - 1), (2**40, 2**41)))
        manifest = _replaced(manifest, (*place, name), value)
        what = f"{_kind_of(place)}: {name} {value} instead of {now}"
    if rng.random() < 0.5:
        manifest = msgspec.structs.replace(manifest, rows=rng.choice((0, 1, manifest.rows - 1, manifest.rows + 1)))
    put_manifest(store, manifest, manifest.snapshot)
    return what


def _forge_manifest(rng: Random, store: Store, manifest: Manifest) -> str:
    body = msgspec.to_builtins(manifest)
    name = rng.choice(("shards", "live", "live", "documents", "attributes", "settings", "quantizer", "all"))
    if name == "all" or body[name] is None:
        what, body = change_tree(rng, body)
    else:
        what, body[name] = change_tree(rng, body[name])
    try:
        put_manifest(store, body, manifest.snapshot)
    except (OverflowError, msgspec.MsgspecError, ValueError):  # an integer of more than 64 bits
        return "nothing"
    return f"{name}.{what}"


def _swap(rng: Random, store: Store, manifest: Manifest) -> str:
    """Swap in the bundle of another segment, of this snapshot or an older one."""
    place = rng.choice(_segments(manifest))
    old = read_manifest(store, rng.randint(2, manifest.snapshot))
    other = _at(old, rng.choice(_segments(old))) if _segments(old) else _at(manifest, place)
    if rng.random() < 0.5:
        manifest = _replaced(manifest, (*place, "bundle"), other.bundle)
    else:
        manifest = _replaced(manifest, place, msgspec.structs.replace(other, number=_at(manifest, place).number))
    put_manifest(store, manifest, manifest.snapshot)
    return f"{_kind_of(place)} is segment {other.number} of snapshot {old.snapshot}"


def _forge_model(rng: Random, store: Store, manifest: Manifest) -> str:
    kind = rng.choice(sorted(manifest.model, key=lambda kind: (kind != "splits", kind))[: rng.choice((1, 99))])
    part = Part.of(SegmentFile(store, manifest.model[kind]))
    what = _change_part(rng, part)
    entry = write_part(store, "model/forged.arrow", part)
    manifest = msgspec.structs.replace(manifest, model={**manifest.model, kind: entry})
    put_manifest(store, manifest, manifest.snapshot)
    return f"model {kind}: {what}"


def _forge_base(rng: Random, store: Store, manifest: Manifest) -> str:
    """Forge a file of a built base, with matching chunk checksums."""
    shards = [shard for shard in manifest.shards if shard.files]
    if not shards:
        return _forge_bundle(rng, store, manifest)
    shard = rng.choice(shards)
    kind = rng.choice(sorted(set(shard.files) - {CHECKSUMS}))
    part = Part.of(open_files(store, shard)[kind])
    what = _change_part(rng, part)
    files = {**shard.files, kind: write_part(store, "segments/forged.arrow", part)}
    sums = {
        name: chunk_checksums(np.frombuffer(store.get(entry.path), np.uint8), entry.chunk_bytes)
        for name, entry in files.items()
        if name != CHECKSUMS
    }
    files[CHECKSUMS] = write_part(store, "segments/forged-sums.arrow", Part({"crc32c": join_checksums(sums)}))
    manifest = _replaced(manifest, ("shards", shard.number, "files"), files)
    put_manifest(store, manifest, manifest.snapshot)
    return f"base file {kind}: {what}"


_FORGERIES: dict[str, Callable[[Random, Store, Manifest], str]] = {
    "bundle": _forge_bundle,
    "base": _forge_base,
    "model": _forge_model,
    "entry": _forge_entry,
    "manifest": _forge_manifest,
    "swap": _swap,
}
