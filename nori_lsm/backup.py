"""Backups: copies of a database that share what has not changed, wherever fsspec reaches (extra `backup`).

>>> backup(db, "s3://bucket/orders")
Backup(number=1, ...)
>>> restore("s3://bucket/orders", "/data/orders")

Each is a checkpoint. Its files are stored once by their content, as files/<SHA-256>; what it consists of is in
backups/<number>, which is made last: a backup that was interrupted is none, and what it left is used by the next one
(FORMAT.md 19). One backup, or prune, at a time for a url; restores at any time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nori_lsm._core import CorruptionError, FormatError
from nori_lsm.reports import Progress

if TYPE_CHECKING:
    from nori_lsm._core import Engine

__all__ = ["Backup", "backup", "backups", "prune", "restore"]

Report = Callable[[Progress], None]

MAGIC = b"nori_lsm backup "
VERSION = 1
MOST_BYTES = 1 << 63  # Of a file.
MOST_LIST_BYTES = 256 << 20  # Of a million files.
_CHUNK_BYTES = 1 << 20
_PART = "part-"  # Begins the name of what is being written.
_NAMES = re.compile(r"CURRENT|MANIFEST-[0-9]{6,20}|[0-9]{6,20}\.sst|wal/[0-9]{6,20}\.log", re.ASCII)
_NUMBERS = re.compile(r"[0-9]{6,18}", re.ASCII)
_DIGESTS = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class File:
    """A file of a backup: its name in the database, and what it holds. `mark` tells whether it is the one of an earlier
    backup without reading it: inode and time of its last change, in nanoseconds."""

    name: str
    bytes: int
    sha256: str
    mark: str


@dataclass(frozen=True)
class Backup:
    """A backup that is complete.

    number     rises by one
    time       when it was made, seconds since 1970
    sequence   of the database's last write in it
    files, bytes           what it consists of
    new_files, new_bytes   what of that no backup before it had
    """

    number: int
    time: float
    sequence: int
    files: int
    bytes: int
    new_files: int
    new_bytes: int
    contents: tuple[File, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


# ---------------------------------------------------------------- verbs


def backup(db: Engine, url: str, *, progress: Report | None = None) -> Backup:
    """A backup of this moment at `url`, an fsspec URL or a path. Copies what no earlier one there has.

    The database is read and written meanwhile; a checkpoint beside it keeps what is copied. Raises ImportError without
    fsspec, ValueError for an engine that is not on a file system, what `Engine.checkpoint` raises, FormatError where a later
    version made the last backup, and what the file system at `url` raises: then there is no new backup.
    """
    if not os.path.isdir(db.path):
        raise ValueError(f"{db.path} is not on a file system: it cannot be backed up")
    store = _Store(url)
    numbers = store.numbers()
    known = _known(store, numbers[-1]) if numbers else {}
    with _checkpoint(db) as (place, sequence):
        found = [_examine(place, name, known) for name in sorted(_files_below(place))]
        present = store.present()
        wanted = {file.sha256: file for file in found if present.get(file.sha256) != file.bytes}
        steps = _Steps(progress, "backup", sum(file.bytes for file in wanted.values()))
        for file in wanted.values():
            store.add(file, place / file.name, steps)
        made = Backup(
            number=numbers[-1] + 1 if numbers else 1,
            time=time.time(),
            sequence=sequence,
            files=len(found),
            bytes=sum(file.bytes for file in found),
            new_files=len(wanted),
            new_bytes=sum(file.bytes for file in wanted.values()),
            contents=tuple(found),
        )
        store.write(made)
    return made


def backups(url: str) -> list[Backup]:
    """All that are at `url`, the oldest first. Raises CorruptionError for a list that is damaged."""
    store = _Store(url)
    return [store.read(number) for number in store.numbers()]


def restore(
    url: str, path: str | os.PathLike[str], *, number: int | None = None, progress: Report | None = None
) -> Backup:
    """The newest backup at `url`, or that of a `number`, becomes a database at `path`: all of it, or nothing.

    Every byte is compared with its SHA-256. Raises FileExistsError if `path` exists, FileNotFoundError if there is no such
    backup, CorruptionError if something of it is damaged or missing, FormatError if a later version made it.
    """
    store = _Store(url)
    target = Path(os.path.abspath(os.fspath(path)))
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    chosen = store.read(store.choose(number))
    place = Path(tempfile.mkdtemp(prefix=f"{target.name}.restore-", dir=target.parent))
    try:
        (place / "wal").mkdir(mode=0o700)
        steps = _Steps(progress, "restore", chosen.bytes)
        for file in chosen.contents:
            store.fetch(file, place / file.name, steps)
        _sync_directory(place / "wal")
        _sync_directory(place)
        os.rename(place, target)  # Of a directory onto what appeared meanwhile, it fails, but for an empty one.
        _sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return chosen


def prune(url: str, *, keep: int) -> list[int]:
    """Removes all backups but the newest `keep`, then what only they had. Returns their numbers.

    Raises ValueError unless `keep` is at least 1, and CorruptionError, with nothing removed, where the list of one that
    stays is damaged. What an interrupted backup left goes, too.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}, must be at least 1")
    store = _Store(url)
    numbers = store.numbers()
    needed = {file.sha256 for number in numbers[-keep:] for file in store.read(number).contents}
    for number in numbers[:-keep]:
        store.remove(f"backups/{number:06}")
    for name in store.names("files"):
        if name not in needed:
            store.remove(f"files/{name}")
    for name in store.names("backups"):
        if name.startswith(_PART):
            store.remove(f"backups/{name}")
    return numbers[:-keep]


# ---------------------------------------------------------------- lists


def encode(made: Backup) -> bytes:
    """The list of a backup: a line that names format, version and the SHA-256 of the rest; the rest is JSON."""
    text = json.dumps(made.to_dict(), separators=(",", ":")).encode()
    if len(text) > MOST_LIST_BYTES - 256:
        raise ValueError(f"the list of {made.files} files takes {len(text)} bytes, may take {MOST_LIST_BYTES}")
    return MAGIC + b"%d %s\n" % (VERSION, hashlib.sha256(text).hexdigest().encode()) + text


def decode(data: bytes, path: str, number: int) -> Backup:
    """The backup that a list describes. `path` is for errors: CorruptionError, or FormatError of a later version."""
    line, _, text = data.partition(b"\n")
    version, _, digest = line.removeprefix(MAGIC).partition(b" ")
    if not line.startswith(MAGIC) or not version.isdigit() or len(version) > 9:
        raise _damaged(path, "it is no list of a backup")
    if int(version) > VERSION:
        raise FormatError(errno.EINVAL, f"version {int(version)} of a backup, known is {VERSION}", path)
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise _damaged(path, "its checksum does not match")
    try:
        values = json.loads(text)
        contents = tuple(File(**file) for file in values.pop("contents"))
        made = Backup(**values, contents=contents)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"it makes no sense: {error}") from None
    if what := _nonsense(made, number):
        raise _damaged(path, what)
    return made


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < MOST_BYTES


def _nonsense(made: Backup, number: int) -> str | None:
    """What is wrong with what was read. Names are those of a database's files, so that nothing else is ever written."""
    counts = (made.number, made.sequence, made.files, made.bytes, made.new_files, made.new_bytes)
    if not all(map(_is_count, counts)) or type(made.time) not in (int, float) or made.number != number:
        return "its numbers make no sense"
    for file in made.contents:
        if type(file.name) is not str or not _NAMES.fullmatch(file.name):
            return f"{file.name!r} is no name of a database's file"
        if type(file.sha256) is not str or not _DIGESTS.fullmatch(file.sha256) or not _is_count(file.bytes):
            return f"what it says of {file.name} makes no sense"
        if type(file.mark) is not str:
            return f"what it says of {file.name} makes no sense"
    names = {file.name for file in made.contents}
    if len(names) != len(made.contents) or "CURRENT" not in names or len(names) != made.files:
        return "it lists a file twice, or not all"
    if sum(file.bytes for file in made.contents) != made.bytes:
        return "its sizes do not add up"
    return None


def _damaged(path: str, message: str) -> CorruptionError:
    error = CorruptionError(errno.EBADMSG, f"backup: {message}", path)
    error.path, error.offset, error.kind = path, None, "backup"
    return error


# ---------------------------------------------------------------- the database


def _known(store: _Store, number: int) -> dict[tuple[str, int, str], str]:
    """Digests of what an earlier backup has. One whose list is damaged only keeps nobody from reading all again."""
    try:
        return {(file.name, file.bytes, file.mark): file.sha256 for file in store.read(number).contents}
    except CorruptionError:
        return {}


@contextmanager
def _checkpoint(db: Engine) -> Iterator[tuple[Path, int]]:
    """One beside the database, where it takes hard links, for as long as it is copied."""
    path = Path(os.path.abspath(os.fspath(db.path)))
    room = tempfile.mkdtemp(prefix=f"{path.name}.backup-", dir=path.parent)
    try:
        made = db.checkpoint(os.path.join(room, "checkpoint"))
        yield Path(made.path), made.sequence
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _files_below(place: Path) -> list[str]:
    names = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
    for name in names:
        if not _NAMES.fullmatch(name):
            raise ValueError(f"{place / name} is no file of a checkpoint")
    return names


def _examine(place: Path, name: str, known: dict[tuple[str, int, str], str]) -> File:
    """Tables never change: one that a backup had under this name, inode and time is not read again."""
    with open(place / name, "rb") as file:
        seen = os.fstat(file.fileno())
        mark = f"{seen.st_ino}-{seen.st_mtime_ns}"
        digest = known.get((name, seen.st_size, mark)) if name.endswith(".sst") else None
        if digest is None:
            sums = hashlib.sha256()
            while chunk := file.read(_CHUNK_BYTES):
                sums.update(chunk)
            digest = sums.hexdigest()
    return File(name, seen.st_size, digest, mark)


def _make_directory(path: Path) -> None:
    """And those above it, each on disk when this returns."""
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Steps:
    """Tells how far a copy has come."""

    def __init__(self, report: Report | None, phase: str, total: int) -> None:
        self.report, self.phase, self.total, self.done = report, phase, total, 0

    def add(self, count: int) -> None:
        self.done += count
        if self.report:
            self.report(Progress(self.done, self.total, "bytes", self.phase))


# ---------------------------------------------------------------- the other side


class _Store:
    """What lies at a url. On this machine a file appears under its name when it is whole and on disk. Elsewhere one may
    have been cut off: of another size than it is to have it counts as missing."""

    def __init__(self, url: str) -> None:
        try:
            core, local = import_module("fsspec.core"), import_module("fsspec.implementations.local")
        except ImportError:
            raise ImportError("backups need fsspec: pip install nori-lsm[backup]", name="fsspec") from None
        self.files, self.root = core.url_to_fs(os.fspath(url))
        self.is_local = isinstance(self.files, local.LocalFileSystem)
        if hasattr(self.files, "invalidate_cache"):
            self.files.invalidate_cache()  # Listings are kept between calls; others may have written.

    def path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def present(self) -> dict[str, int]:
        """Sizes of what is there, by content."""
        found = {}
        for entry in self.entries("files"):
            found[entry["name"].rsplit("/", 1)[-1]] = entry["size"]
        return found

    def entries(self, folder: str) -> list[dict[str, Any]]:
        try:
            listed = self.files.ls(self.path(folder), detail=True)
        except FileNotFoundError:
            return []
        return [entry for entry in listed if entry["type"] == "file"]

    def names(self, folder: str) -> list[str]:
        return [entry["name"].rsplit("/", 1)[-1] for entry in self.entries(folder)]

    def numbers(self) -> list[int]:
        return sorted(int(name) for name in self.names("backups") if _NUMBERS.fullmatch(name))

    def choose(self, number: int | None) -> int:
        numbers = self.numbers()
        if not numbers or (number is not None and number not in numbers):
            what = "no backup" if number is None else f"no backup {number}"
            raise FileNotFoundError(errno.ENOENT, f"{what} is there", self.root)
        return numbers[-1] if number is None else number

    def read(self, number: int) -> Backup:
        path = self.path(f"backups/{number:06}")
        if self.files.size(path) > MOST_LIST_BYTES:
            raise _damaged(path, "it is too large for a list")
        return decode(bytes(self.files.cat_file(path)), path, number)

    def write(self, made: Backup) -> None:
        """When all that it names is on disk, what an interrupted backup left too; then it is on disk itself."""
        data = encode(made)
        if self.is_local:
            _sync_directory(Path(self.path("files")))
        with self.appearing(f"backups/{made.number:06}") as out:
            out.write(data)
        if self.is_local:
            for folder in (Path(self.path("backups")), Path(self.root), Path(self.root).parent):
                _sync_directory(folder)

    def add(self, file: File, source: Path, steps: _Steps) -> None:
        with open(source, "rb") as data, self.appearing(f"files/{file.sha256}") as out:
            while chunk := data.read(_CHUNK_BYTES):
                out.write(chunk)
                steps.add(len(chunk))

    def fetch(self, file: File, target: Path, steps: _Steps) -> None:
        path, sums, size = self.path(f"files/{file.sha256}"), hashlib.sha256(), 0
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            try:
                with self.files.open(path, "rb") as data:
                    while size <= file.bytes and (chunk := data.read(_CHUNK_BYTES)):
                        sums.update(chunk)
                        size += len(chunk)
                        out.write(chunk)
                        steps.add(len(chunk))
            except FileNotFoundError:
                raise _damaged(path, f"{file.name} is missing") from None
            if size != file.bytes or sums.hexdigest() != file.sha256:
                raise _damaged(path, f"{file.name} is not what was backed up")
            out.flush()
            os.fsync(out.fileno())

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.files.rm_file(self.path(name))

    @contextmanager
    def appearing(self, name: str) -> Iterator[BinaryIO]:
        """To write a file that is there when the block ends."""
        path = self.path(name)
        if not self.is_local:
            with self.files.open(path, "wb") as out:
                yield out
            return
        folder = Path(path).parent
        _make_directory(folder)
        handle, part = tempfile.mkstemp(prefix=_PART, dir=folder)
        try:
            with os.fdopen(handle, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            os.replace(part, path)
            part = ""
        finally:
            if part:
                os.unlink(part)
