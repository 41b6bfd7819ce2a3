"""A file of a database in readable lines, for `nori-lsm dump`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from itertools import islice
from os import PathLike, fspath
from os.path import basename
from typing import Any, NamedTuple

from nori_lsm._terminal import format_key
from nori_lsm.inspect._batch import RangeDelete
from nori_lsm.inspect._bytes import Place, damaged
from nori_lsm.inspect._header import HEADER_BYTES, MAGICS, header_is_right, read_header
from nori_lsm.inspect._heat import ACTION_NAMES, read_heat
from nori_lsm.inspect._log import read_segment
from nori_lsm.inspect._manifest import read_manifest
from nori_lsm.inspect._names import kind_of, number_of, read_current
from nori_lsm.inspect._records import Record
from nori_lsm.inspect._table import COMPRESSION_NAMES, read_table

__all__ = ["Line", "dump_file", "lines_of"]


class Line(NamedTuple):
    """Something that a file holds: what it is, how far inside what holds it, and its fields."""

    what: str
    depth: int
    fields: dict[str, Any]

    def text(self) -> str:
        words = [f"{name}={_show(value)}" for name, value in self.fields.items() if value is not None]
        return "  " * self.depth + " ".join([self.what, *words])

    def json(self) -> str:
        return json.dumps({"what": self.what, **_plain(self.fields)})


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        return '"' + format_key(value).replace('"', "\\x22") + '"'
    if isinstance(value, str):
        return format_key(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(map(_show, value)) + "]"
    if isinstance(value, dict):
        return "{" + " ".join(f"{name}={_show(inner)}" for name, inner in value.items() if inner is not None) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return format_key(value)
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    return value


def _header(header: Any) -> Line:
    fields = header.to_dict()
    fields["database_id"] = f"{header.database_id:016x}"
    return Line("header", 0, fields)


def _current(data: bytes, path: str, number: int | None) -> Iterator[Line]:
    yield Line("current", 0, read_current(data, path).to_dict())


def _manifest(data: bytes, path: str, number: int | None) -> Iterator[Line]:
    manifest = read_manifest(data, path, number=number)
    yield _header(manifest.header)
    manifest.tree()  # What does not fit together is damage.
    edits = iter(manifest.edits)
    for item in manifest.framed.items:
        if isinstance(item, Record):
            yield Line("edit", 0, item.to_dict())
            for operation in next(edits).operations:
                fields = operation.to_dict()
                yield Line(fields.pop("operation"), 1, fields)
        else:
            yield Line("mark", 0, item.to_dict())
    yield Line("end", 0, {"offset": manifest.framed.end, "file_bytes": len(data)})


def _segment(data: bytes, path: str, number: int | None) -> Iterator[Line]:
    if not any(data[:HEADER_BYTES]):
        yield Line("spare", 0, {"file_bytes": len(data)})
        return
    if number is not None and header_is_right(data, "segment"):
        header = read_header(data, path, "segment")
        if header.number != number:
            yield Line("spare", 0, {"file_bytes": len(data), "was_segment": header.number})
            return
    segment = read_segment(data, path, number=number)
    yield _header(segment.header)
    yield Line("link", 0, segment.link.to_dict())
    for item in segment.framed.items:
        if not isinstance(item, Record):
            yield Line("mark", 0, item.to_dict())
            continue
        yield Line("record", 0, item.to_dict())
        for operation in segment.operations(item):
            fields = operation.to_dict()
            if isinstance(operation, RangeDelete):
                yield Line("range delete", 1, fields)
            else:
                del fields["type"]
                yield Line(operation.type_name, 1, fields)
    yield Line("end", 0, {"offset": segment.framed.end, "file_bytes": len(data)})


def _table(data: bytes, path: str, number: int | None) -> Iterator[Line]:
    table = read_table(data, path, number=number)
    yield _header(table.header)
    if table.is_stamped:
        yield Line("stamped", 0, {"note": "entries have the sequence that the manifest says"})
    for section in table.sections:
        yield Line("section", 0, section.to_dict())
    yield Line("properties", 0, table.properties.to_dict())
    if table.filter is not None:
        yield Line("filter", 0, table.filter.to_dict())
    for delete in table.range_deletes:
        yield Line("range delete", 0, delete.to_dict())
    for block in table.blocks():
        fields = block.to_dict()
        fields["compression"] = COMPRESSION_NAMES.get(block.compression, block.compression)
        yield Line("block", 0, {**fields, "restarts": table.restarts(block)})
        for entry in table.block_entries(block):
            fields = entry.to_dict()
            del fields["type"]
            yield Line(entry.type_name, 1, fields)
    table.check()


def _heat(data: bytes, path: str, number: int | None) -> Iterator[Line]:
    heat = read_heat(data, path)
    yield _header(heat.header)
    for slot in heat.slots:
        yield Line("slot", 0, slot.to_dict())
    if heat.learned is not None:
        fields = heat.learned.to_dict()
        arms, models = fields.pop("arms"), fields.pop("models")
        yield Line("learned", 0, {**fields, "last_action": ACTION_NAMES[heat.learned.last_action]})
        for what, learned in [*(("arm", arm) for arm in arms), *(("model", model) for model in models)]:
            yield Line(what, 1, {**learned, "action": ACTION_NAMES[learned["action"]]})
    for section in heat.sections:
        fields = section.to_dict()
        sketch = fields.pop("sketch")
        yield Line("section", 0, fields)
        for item in sketch["items"] if sketch else ():
            yield Line("item", 1, item)
    if heat.lost_at is not None:
        raise damaged(Place(path, heat.lost_at, "section"), "cut off, or its checksum is wrong")


_DUMPS = {"current": _current, "manifest": _manifest, "segment": _segment, "table": _table, "heat": _heat}


def _kind_by_content(data: bytes) -> str | None:
    for kind, magic in MAGICS.items():
        head = data[-HEADER_BYTES:][:8] if kind == "table" else data[:8]
        if head == magic.to_bytes(8, "little"):
            return kind
    return "current" if data.startswith(b"nori ") else None


def lines_of(data: bytes, path: str) -> Iterator[Line]:
    """All that a file holds, whose kind is that of its name, or what its first or last bytes say.

    CorruptionError if it is damaged, FormatError if a later version made it, ValueError if it is no file of ours.
    """
    name = basename(path)
    within = f"wal/{name}" if kind_of(f"wal/{name}") else name
    kind = kind_of(within) or _kind_by_content(data)
    if kind is None:
        raise ValueError(f"{path}: not a file of a database")
    return _DUMPS[kind](data, path, number_of(within))


def dump_file(path: str | PathLike[str], *, as_json: bool = False, limit: int | None = None) -> Iterator[str]:
    """The lines of a file, at most `limit`; JSON objects or text. Errors as lines_of(), and OSError."""
    with open(path, "rb") as file:
        data = file.read()
    for line in islice(lines_of(data, fspath(path)), limit):
        yield line.json() if as_json else line.text()
