"""Segments, and the log that they are together (FORMAT.md 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nori_lsm.inspect._batch import Entry, RangeDelete, read_batch
from nori_lsm.inspect._bytes import MAX_SEQUENCE, Data, Place, damaged
from nori_lsm.inspect._header import FileHeader, header_is_right, read_header
from nori_lsm.inspect._names import segment_name
from nori_lsm.inspect._records import NO_PROMISE, Framed, Promise, Record, read_framed

__all__ = ["Commit", "Link", "Log", "Segment", "read_log", "read_segment"]


@dataclass(frozen=True)
class Link:
    """Where the log was when a segment was begun: its segment before, the byte in it, the last sequence up to there."""

    number: int
    offset: int
    sequence: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Segment:
    """One file of the log, read for itself."""

    path: str
    header: FileHeader
    framed: Framed

    @property
    def link(self) -> Link:
        return Link(*self.header.extra[:3])

    def operations(self, record: Record) -> Iterator[Entry | RangeDelete]:
        """What a record holds, in order. CorruptionError if that is not understood."""
        return read_batch(record, self.path)

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "header": self.header.to_dict(), **self.framed.to_dict()}


@dataclass(frozen=True)
class Commit:
    """A record of the log that counts, and the file it stands in."""

    path: str
    record: Record

    def operations(self) -> Iterator[Entry | RangeDelete]:
        """In order. CorruptionError if what the record holds is not understood."""
        return read_batch(self.record, self.path)

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, **self.record.to_dict()}


@dataclass(frozen=True)
class Log:
    """The log of a database.

    commits   those that tables do not hold, in order
    end       where it ends: segment and byte
    sequence  the last, of tables or log
    promise   the greatest position known to be on disk
    """

    commits: tuple[Commit, ...]
    end: Promise
    sequence: int
    promise: Promise

    def to_dict(self) -> dict[str, Any]:
        positions = {"end": self.end.to_dict(), "sequence": self.sequence, "promise": self.promise.to_dict()}
        return {"commits": [commit.to_dict() for commit in self.commits], **positions}


def read_segment(data: Data, path: str, *, number: int | None = None, database_id: int | None = None) -> Segment:
    """A segment for itself, with all that is valid in it, whatever the log makes of that.

    CorruptionError if the header is damaged, or a promise of this file says that it went on beyond what is valid.
    """
    header = read_header(data, path, "segment", number=number, database_id=database_id)
    if header.extra[0] >= header.number:
        raise damaged(Place(path, 0, "header"), f"links to segment {header.extra[0]}, which is not before it")
    framed = read_framed(data, path, header.database_id, header.number)
    if framed.promise > Promise(header.number, framed.end):
        raise damaged(Place(path, framed.end, "log"), f"on disk up to {framed.promise.offset}, valid up to {framed.end}")
    return Segment(path, header, framed)


class _Log:
    """Walks the chain of segments. `position` and `sequence`: how far it has come."""

    def __init__(self, files: Mapping[int, Data], database_id: int, log_number: int, flushed_sequence: int) -> None:
        self.log_number = log_number
        self.flushed = flushed_sequence
        self.segments: dict[int, Segment] = {}
        self.promise = NO_PROMISE
        self.position = Promise(log_number, 0)
        self.sequence = flushed_sequence
        self.commits: list[Commit] = []
        for number, data in sorted(files.items()):
            if number < log_number:
                continue
            path = segment_name(number)
            framed = read_framed(data, path, database_id, number)
            self.promise = max(self.promise, framed.promise)
            header = _header_of(data, path, number, database_id)
            if header is not None:
                self.segments[number] = Segment(path, header, framed)

    def chain(self) -> list[Segment]:
        """From the start to the last segment that counts."""
        last = max(self.segments, default=None)
        while last is not None:
            chain = [self.segments[last]]
            while True:
                link = chain[-1].link
                if link.number < self.log_number or (link.number == self.log_number and link.offset == 0):
                    return chain[::-1]
                if link.number not in self.segments:
                    last = max((number for number in self.segments if number < link.number), default=None)
                    break
                chain.append(self.segments[link.number])
        return []

    def goes_on(self, sequence: int) -> bool:
        """Whether what follows `sequence` follows what came before."""
        return sequence == self.sequence or self.sequence < sequence <= self.flushed

    def walk(self, chain: list[Segment]) -> None:
        if not chain or chain[0].link.sequence > self.flushed:
            return
        self.sequence = chain[0].link.sequence
        for place, segment in enumerate(chain):
            if not self.goes_on(segment.link.sequence):
                return
            self.sequence = segment.link.sequence
            stop = chain[place + 1].link.offset if place + 1 < len(chain) else None
            if not self.read(segment, stop):
                return

    def read(self, segment: Segment, stop: int | None) -> bool:
        """Takes the records up to byte `stop`, None: all. Whether that was reached."""
        number = segment.header.number
        self.position = Promise(number, 96)
        for item in segment.framed.items:
            if self.position.offset == stop:
                break
            if stop is not None and item.end > stop:
                return False
            if isinstance(item, Record) and not self.take(segment, item):
                return False
            self.position = Promise(number, item.end)
        return stop is None or self.position.offset == stop

    def take(self, segment: Segment, record: Record) -> bool:
        last = record.sequence + record.count - 1
        if record.sequence == 0 or last >= MAX_SEQUENCE or not self.goes_on(record.sequence - 1):
            return False
        if last > self.flushed:
            if record.sequence <= self.flushed:
                raise damaged(Place(segment.path, record.offset, "log"), "a commit is in part in tables")
            self.commits.append(Commit(segment.path, record))
        self.sequence = last
        return True


def _header_of(data: Data, path: str, number: int, database_id: int) -> FileHeader | None:
    """The header, None if the file is not a valid segment. CorruptionError if it is another database's, FormatError if
    a later version made it."""
    if not header_is_right(data, "segment"):
        return None
    head = bytes(data[:96])
    if int.from_bytes(head[32:40], "little") != database_id:
        raise damaged(Place(path, 0, "log"), "of another database")
    if int.from_bytes(head[40:48], "little") != number:
        return None
    header = read_header(data, path, "segment")
    return header if header.extra[0] < number and header.extra[2] <= MAX_SEQUENCE else None


def read_log(files: Mapping[int, Data], database_id: int, log_number: int, flushed_sequence: int) -> Log:
    """The records that count (FORMAT.md 7, "Which records count").

    files             segments by number; those below log_number are not looked at
    log_number        of the manifest: the first that is needed
    flushed_sequence  of the manifest: all up to it is in tables

    CorruptionError if something is missing that was on disk; FormatError for a segment of a later version.
    """
    log = _Log(files, database_id, log_number, flushed_sequence)
    log.walk(log.chain())
    if log.promise > log.position:
        place = Place(segment_name(log.position.number), log.position.offset, "log")
        raise damaged(place, f"ends here, but was on disk up to {log.promise.offset} of segment {log.promise.number}")
    return Log(tuple(log.commits), log.position, max(log.sequence, flushed_sequence), log.promise)
