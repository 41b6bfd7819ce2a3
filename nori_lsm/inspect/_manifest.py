"""Manifests (FORMAT.md 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nori_lsm.inspect._bytes import Cursor, Data, Place, damaged
from nori_lsm.inspect._edits import Edit, read_edit
from nori_lsm.inspect._header import FileHeader, read_header
from nori_lsm.inspect._records import Framed, Promise, read_framed
from nori_lsm.inspect._tree import Tree, TreeBuilder

__all__ = ["Manifest", "read_manifest"]

MAX_LEVELS = 16


@dataclass(frozen=True)
class Manifest:
    """A manifest: its edits in order, the first of them a snapshot."""

    path: str
    header: FileHeader
    framed: Framed
    edits: tuple[Edit, ...]

    def tree(self, edits: int | None = None) -> Tree:
        """What the first so many edits make, None: all. CorruptionError if one does not fit what the others made."""
        builder = TreeBuilder(self.header.extra[0], self.path)
        for edit in self.edits[:edits]:
            builder.apply(edit)
        return builder.tree()

    def to_dict(self) -> dict[str, Any]:
        edits = [edit.to_dict() for edit in self.edits]
        return {"path": self.path, "header": self.header.to_dict(), "end": self.framed.end, "edits": edits}


def read_manifest(data: Data, path: str, *, number: int | None = None, database_id: int | None = None) -> Manifest:
    """All edits of a manifest, up to the end of what is valid.

    number, database_id  what they must be; None: what the header says

    CorruptionError if the header or the first edit is damaged, an edit is not understood, or there was more on disk;
    FormatError if a later version made it.
    """
    header = read_header(data, path, "manifest", number=number, database_id=database_id)
    if not 1 <= header.extra[0] <= MAX_LEVELS:
        raise damaged(Place(path, 0, "header"), f"a tree of {header.extra[0]} levels")
    framed = read_framed(data, path, header.database_id, header.number)
    place = Place(path, framed.end, "manifest")
    if framed.promise > Promise(header.number, framed.end):
        raise damaged(place, f"ends here, but was on disk up to {framed.promise.offset}")
    edits: list[Edit] = []
    for record in framed.records:
        place = Place(path, record.offset, "manifest")
        if record.sequence != len(edits) + 1 or record.count != 1:
            raise damaged(place, f"edit {len(edits) + 1} says that it is {record.sequence}, of {record.count}")
        edits.append(read_edit(Cursor(record.payload, place), record.offset, record.sequence))
    if not edits:
        raise damaged(place, "the first edit is not valid")
    return Manifest(path, header, framed, tuple(edits))
