"""Names of files, and where files come from (FORMAT.md 2, 9)."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from nori_lsm.inspect._bytes import Data, Place, checksum, damaged, newer

if TYPE_CHECKING:
    from nori_lsm._core import SimDisk

__all__ = ["Current", "DirectoryFiles", "Files", "SimDiskFiles", "manifest_name", "number_of", "read_current"]

_NUMBER = r"([0-9]{6}|[1-9][0-9]{6,19})"
_NAMES = {
    "manifest": re.compile(rf"MANIFEST-{_NUMBER}"),
    "table": re.compile(rf"{_NUMBER}\.sst"),
    "segment": re.compile(rf"wal/{_NUMBER}\.log"),
    "current": re.compile("CURRENT"),
    "heat": re.compile("HEAT"),
}
MAX_CURRENT_BYTES = 128


def manifest_name(number: int) -> str:
    return f"MANIFEST-{number:06d}"


def table_name(number: int) -> str:
    return f"{number:06d}.sst"


def segment_name(number: int) -> str:
    return f"wal/{number:06d}.log"


def kind_of(name: str) -> str | None:
    """manifest, table, segment, current or heat; None of a name that is nobody's."""
    return next((kind for kind, pattern in _NAMES.items() if pattern.fullmatch(name)), None)


def number_of(name: str) -> int | None:
    """The number in a file's name; None if it has none that fits, or one of 2^63 or above."""
    kind = kind_of(name)
    match = _NAMES[kind].fullmatch(name) if kind else None
    number = int(match.group(1)) if match and match.groups() else None
    return number if number is not None and 0 < number < 1 << 63 else None


class Files(Protocol):
    """Where the files of a database are read from. Names are those of FORMAT.md 2, segments' with `wal/` in front."""

    def list(self) -> Mapping[str, int]:
        """The names of all files and their bytes."""

    def read(self, name: str) -> bytes:
        """All of a file. FileNotFoundError if it is missing."""


class DirectoryFiles:
    """The directory of a database. Below it no symbolic link is followed, and nothing but regular files is opened."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.fspath(path)

    def list(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for folder, prefix in (("", ""), ("wal", "wal/")):
            where = os.path.join(self.path, folder)
            if folder and not (os.path.isdir(where) and not os.path.islink(where)):
                continue
            with os.scandir(where) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISREG(status.st_mode):
                        sizes[prefix + entry.name] = status.st_size
        return sizes

    def read(self, name: str) -> bytes:
        if kind_of(name) is None:
            raise ValueError(f"{name!r} is not the name of a file of a database")
        folder, _, base = name.rpartition("/")
        flags = os.O_RDONLY | os.O_CLOEXEC
        top = os.open(self.path, flags | os.O_DIRECTORY)
        try:
            within = os.open(folder, flags | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top) if folder else os.dup(top)
        finally:
            os.close(top)
        try:
            handle = os.open(base, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
        finally:
            os.close(within)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", os.path.join(self.path, name))
            return file.read()


class SimDiskFiles:
    """The directory `path` of a database on a simulated disk."""

    def __init__(self, disk: SimDisk, path: str | PathLike[str]) -> None:
        self.disk = disk
        self.path = os.fspath(path)

    def list(self) -> dict[str, int]:
        names = [name for name in self.disk.list(self.path) if kind_of(name)]
        try:
            names += [f"wal/{name}" for name in self.disk.list(f"{self.path}/wal") if kind_of(f"wal/{name}")]
        except FileNotFoundError:
            pass
        return {name: len(self.read(name)) for name in names}

    def read(self, name: str) -> bytes:
        if kind_of(name) is None:
            raise ValueError(f"{name!r} is not the name of a file of a database")
        return self.disk.read_file(f"{self.path}/{name}")


@dataclass(frozen=True)
class Current:
    """CURRENT: the version of the format, and the manifest that counts."""

    version: int
    manifest: str
    number: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_current(data: Data, path: str = "CURRENT") -> Current:
    """The content of CURRENT (FORMAT.md 9). CorruptionError if it is damaged, FormatError if it is not version 1."""
    place = Place(path, 0, "current")
    text = bytes(data[: MAX_CURRENT_BYTES + 1])
    match = re.fullmatch(rb"(nori (.*) )([0-9a-f]{16})\n", text, re.DOTALL)
    if len(text) > MAX_CURRENT_BYTES or match is None:
        raise damaged(place, "not the line that it must be")
    if checksum(match.group(1)) != int(match.group(3), 16):
        raise damaged(place, "its checksum is wrong")
    version, _, name = match.group(2).decode("latin-1").partition(" ")
    if version != "1":
        raise newer(path, f"format version {version!r}; known is 1")
    number = number_of(name) if kind_of(name) == "manifest" else None
    if number is None:
        raise damaged(place, f"{name!r} is not the name of a manifest")
    return Current(1, name, number)


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000
