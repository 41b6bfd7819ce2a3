"""Arrow's C interfaces through ctypes: a consumer and a producer that need no library."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Iterator, Sequence
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p, pointer
from typing import Any


class Schema(Structure):
    pass


class Array(Structure):
    pass


class ArrayStream(Structure):
    pass


RELEASE_SCHEMA = CFUNCTYPE(None, POINTER(Schema))
RELEASE_ARRAY = CFUNCTYPE(None, POINTER(Array))
RELEASE_STREAM = CFUNCTYPE(None, POINTER(ArrayStream))
GET_SCHEMA = CFUNCTYPE(c_int, POINTER(ArrayStream), POINTER(Schema))
GET_NEXT = CFUNCTYPE(c_int, POINTER(ArrayStream), POINTER(Array))
GET_LAST_ERROR = CFUNCTYPE(c_void_p, POINTER(ArrayStream))

Schema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_char_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(Schema))),
    ("dictionary", POINTER(Schema)),
    ("release", RELEASE_SCHEMA),
    ("private_data", c_void_p),
]
Array._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(Array))),
    ("dictionary", POINTER(Array)),
    ("release", RELEASE_ARRAY),
    ("private_data", c_void_p),
]
ArrayStream._fields_ = [
    ("get_schema", GET_SCHEMA),
    ("get_next", GET_NEXT),
    ("get_last_error", GET_LAST_ERROR),
    ("release", RELEASE_STREAM),
    ("private_data", c_void_p),
]

_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = c_void_p, [ctypes.py_object, c_char_p]
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]


def capsule_of(structure: Structure, name: bytes) -> Any:
    """The capsule borrows: 'structure' and 'name' are kept by who calls."""
    return _new_capsule(ctypes.addressof(structure), name, None)


def stream_in(capsule: Any) -> ArrayStream:
    return ArrayStream.from_address(_get_pointer(capsule, b"arrow_array_stream"))


def move(source: Structure) -> Any:
    """As a consumer takes a structure: copied, and the source marked as released."""
    target = type(source)()
    ctypes.memmove(byref(target), byref(source), ctypes.sizeof(source))
    source.release = type(source.release)()
    return target


class StreamError(Exception):
    """errno and message of a callback that failed."""


class Consumer:
    """Takes a capsule's stream, and calls it without the GIL."""

    def __init__(self, capsule: Any) -> None:
        self.stream = move(stream_in(capsule))

    def _check(self, rc: int) -> None:
        if rc:
            text = self.stream.get_last_error(self.stream)
            raise StreamError(rc, ctypes.string_at(text).decode() if text else None)

    def schema(self) -> Schema:
        out = Schema()
        self._check(self.stream.get_schema(self.stream, out))
        return out

    def next(self) -> Array | None:
        out = Array()
        self._check(self.stream.get_next(self.stream, out))
        return out if out.release else None

    def __iter__(self) -> Iterator[Array]:
        while (array := self.next()) is not None:
            yield array

    def rows(self) -> list[tuple[bytes, bytes]]:
        """All that is left."""
        schema = self.schema()
        formats = [schema.children[i].contents.format for i in range(2)]
        schema.release(schema)
        rows: list[tuple[bytes, bytes]] = []
        for array in self:
            rows += rows_of(array, formats)
            array.release(array)
            assert not array.release
        return rows

    def release(self) -> None:
        self.stream.release(self.stream)
        assert not self.stream.release


def rows_of(array: Array, formats: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    assert (array.n_children, array.n_buffers, array.null_count, array.offset) == (2, 1, 0, 0)
    columns = [column_of(array.children[i].contents, formats[i]) for i in range(2)]
    assert len(columns[0]) == len(columns[1]) == array.length
    return list(zip(columns[0], columns[1], strict=True))


def column_of(array: Array, format: bytes) -> list[bytes]:
    assert array.null_count == 0 and not array.buffers[0]
    count, data = array.length, array.buffers[2]
    if format == b"vz":
        views = ctypes.string_at(array.buffers[1], 16 * count)
        data_bytes = c_int64.from_address(array.buffers[3]).value
        return [bytes_of_view(views[i * 16 : i * 16 + 16], data, data_bytes) for i in range(count)]
    width = {b"z": 4, b"Z": 8}[format]
    text = ctypes.string_at(array.buffers[1], width * (count + 1))
    offsets = struct.unpack(f"={count + 1}{'i' if width == 4 else 'q'}", text)
    assert offsets[0] == 0
    return [ctypes.string_at(data + start, stop - start) for start, stop in zip(offsets, offsets[1:], strict=False)]


def bytes_of_view(view: bytes, data: int, data_bytes: int) -> bytes:
    (size,) = struct.unpack_from("=i", view)
    if size <= 12:
        assert not any(view[4 + size :])
        return view[4 : 4 + size]
    prefix, buffer, offset = struct.unpack_from("=4sii", view, 4)
    assert buffer == 0 and 0 <= offset and offset + size <= data_bytes
    text = ctypes.string_at(data + offset, size)
    assert text.startswith(prefix)
    return text


# ---------------------------------------------------------------- a producer


def binary_column(items: Sequence[bytes | None], format: str = "z", **changed: Any) -> dict[str, Any]:
    """A column as its buffers, to be changed into what it should not be."""
    width, code = (8, "q") if format in ("Z", "U") else (4, "i")
    offsets, data = [0], b""
    for item in items:
        data += item or b""
        offsets.append(len(data))
    nulls = [item is None for item in items]
    bitmap = bytes(sum((not null) << bit for bit, null in enumerate(nulls[at : at + 8])) for at in range(0, len(nulls), 8))
    return {
        "buffers": [bitmap if any(nulls) else None, struct.pack(f"={len(offsets)}{code}", *offsets), data],
        "length": len(items),
        "null_count": sum(nulls),
        **changed,
    }


class Producer:
    """An object with __arrow_c_stream__, of arrays that are described by dicts. Counts what is released."""

    def __init__(
        self,
        arrays: Iterable[Sequence[dict[str, Any]] | int],
        formats: Sequence[str] = ("z", "z"),
        names: Sequence[str | None] = ("key", "value"),
        parent: dict[str, Any] | None = None,
        format: str = "+s",
        schema_errno: int = 0,
        dictionary: bool = False,
    ) -> None:
        self.arrays = iter(arrays)
        self.formats, self.names, self.parent = formats, names, parent or {}
        self.format, self.schema_errno, self.has_dictionary = format, schema_errno, dictionary
        self.made = {"schema": 0, "array": 0, "stream": 0}
        self.released = {"schema": 0, "array": 0, "stream": 0}
        self.kept: list[Any] = []
        self.message = ctypes.create_string_buffer(b"out of order")
        self.callbacks = {
            "schema": RELEASE_SCHEMA(lambda out: self._release("schema", out)),
            "array": RELEASE_ARRAY(lambda out: self._release("array", out)),
            "stream": RELEASE_STREAM(lambda out: self._release("stream", out)),
        }
        self.child_callbacks = (RELEASE_SCHEMA(lambda out: None), RELEASE_ARRAY(lambda out: None))
        self.name = b"arrow_array_stream"

    def _release(self, kind: str, out: Any) -> None:
        self.released[kind] += 1
        out.contents.release = type(out.contents.release)()

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        self.made["stream"] += 1
        self.stream = ArrayStream(
            get_schema=GET_SCHEMA(self._get_schema),
            get_next=GET_NEXT(self._get_next),
            get_last_error=GET_LAST_ERROR(lambda stream: ctypes.addressof(self.message)),
            release=self.callbacks["stream"],
        )
        return capsule_of(self.stream, self.name)

    def _get_schema(self, stream: Any, out: Any) -> int:
        if self.schema_errno:
            return self.schema_errno
        self.made["schema"] += 1
        children = []
        for format, name in zip(self.formats, self.names, strict=True):
            child = Schema(format=format.encode(), name=name.encode() if name is not None else None)
            child.release = self.child_callbacks[0]
            if self.has_dictionary:
                child.dictionary = pointer(Schema(format=b"z", release=self.child_callbacks[0]))
            children.append(pointer(child))
        schema = out.contents
        schema.format, schema.n_children = self.format.encode(), len(children)
        schema.children = (POINTER(Schema) * max(len(children), 1))(*children)
        schema.release = self.callbacks["schema"]
        self.kept.append((children, schema.children))
        return 0

    def _get_next(self, stream: Any, out: Any) -> int:
        array = out.contents
        array.release = RELEASE_ARRAY()
        columns = next(self.arrays, None)
        if columns is None:
            return 0
        if isinstance(columns, int):
            return columns
        self.made["array"] += 1
        self._fill(array, columns)
        return 0

    def _fill(self, array: Array, columns: Sequence[dict[str, Any]]) -> None:
        children = [self._child(column) for column in columns]
        fields = {"length": columns[0]["length"], "n_buffers": 1, "n_children": len(children), **self.parent}
        bitmap = fields.pop("bitmap", None)
        for name, value in fields.items():
            setattr(array, name, value)
        array.buffers = self._buffers([bitmap])
        array.children = (POINTER(Array) * len(children))(*children)
        array.release = self.callbacks["array"]
        self.kept.append((children, array.children))

    def _buffers(self, buffers: Sequence[bytes | None]) -> Any:
        texts = [None if text is None else ctypes.create_string_buffer(text, len(text) + 64) for text in buffers]
        addresses = (c_void_p * len(texts))(*[None if text is None else ctypes.addressof(text) for text in texts])
        self.kept.append((texts, addresses))
        return ctypes.cast(addresses, POINTER(c_void_p))

    def _child(self, column: dict[str, Any]) -> Any:
        fields = dict(column)
        buffers = fields.pop("buffers")
        child = Array(n_buffers=0 if buffers is None else len(buffers), release=self.child_callbacks[1])
        if buffers is not None:
            child.buffers = self._buffers(buffers)
        for name, value in fields.items():
            setattr(child, name, value)
        return pointer(child)

    def check_released(self) -> None:
        """All that was made was released, once."""
        assert self.released == self.made
        assert not self.stream.release


__all__ = ["Consumer", "Producer", "StreamError", "binary_column", "capsule_of", "move", "stream_in"]
