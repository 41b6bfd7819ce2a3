"""Slices of tables, and what part of the table's numbers is theirs when they are cut (FORMAT.md 10.1, 10.4)."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["Run", "Slice", "cut_run", "cut_slice", "is_below"]

Key = bytes  # Slice has a field of the name of the type.
_POSITIONS = 19
_LIMIT = (1 << 63) - 1
_DIGITS, _UPPER, _LOWER = bytes(range(48, 58)), bytes(range(65, 91)), bytes(range(97, 123))
_ALPHABETS = [
    _DIGITS,
    _DIGITS + _LOWER[:6],
    _DIGITS + _UPPER[:6],
    _LOWER,
    _UPPER,
    _DIGITS + _LOWER,
    _DIGITS + _UPPER,
    _UPPER + _LOWER,
    bytes(range(32, 127)),
    bytes(range(256)),
]


@dataclass(frozen=True)
class Slice:
    """The part [start, end) of a table; end None: infinite. bytes and the counts are estimates where it is not all."""

    table: int
    start: Key
    end: Key | None
    bytes: int
    entries: int
    deletes: int
    ranges: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """Slices that ascend and do not overlap."""

    id: int
    slices: tuple[Slice, ...]

    @property
    def start(self) -> bytes:
        return self.slices[0].start

    @property
    def end(self) -> bytes | None:
        return self.slices[-1].end

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def is_below(end: bytes | None, other: bytes | None) -> bool:
    """Whether an exclusive end is below another; None is infinite."""
    return end is not None and (other is None or end < other)


def _alphabet(first: int, second: int) -> bytes:
    first, second = first or second, second or first
    return next(letters for letters in _ALPHABETS if first in letters and second in letters)


def _number(key: bytes, alphabets: list[bytes]) -> int:
    number, outside = 0, False
    for position, letters in enumerate(alphabets):
        rank = 0
        if not outside and position < len(key):
            rank = bisect_left(letters, key[position])
            outside = key[position] not in letters
        number = number * len(letters) + rank
    return number


def place(start: bytes, end: bytes | None, key: bytes) -> tuple[int, int]:
    """How far `key` lies between start and end: part and whole (FORMAT.md 10.4)."""
    if end is None:
        end = b"\xff" * _POSITIONS
    common = 0
    while common < min(len(start), len(end)) and start[common] == end[common]:
        common += 1
    start, end, key = start[common:], end[common:], key[common:]
    alphabets: list[bytes] = []
    product = 1
    for position in range(_POSITIONS):
        letters = _alphabet(*(text[position] if position < len(text) else 0 for text in (start, end)))
        if product > _LIMIT // len(letters):
            break
        product *= len(letters)
        alphabets.append(letters)
    low, high, at = (_number(text, alphabets) for text in (start, end, key))
    if high <= low:
        return 1, 2
    return min(max(at, low), high) - low, high - low


def cut_slice(piece: Slice, start: bytes, end: bytes | None) -> Slice | None:
    """What of a slice lies in [start, end), None if nothing does. Numbers are shared out as FORMAT.md 10.4 says."""
    low = max(piece.start, start)
    high = end if is_below(end, piece.end) else piece.end
    if high is not None and low >= high:
        return None
    if low == piece.start and high == piece.end:
        return piece
    numbers = {name: getattr(piece, name) for name in ("bytes", "entries", "deletes", "ranges")}
    left = dict(numbers)
    if high != piece.end and high is not None:
        part, whole = place(piece.start, piece.end, high)
        left = {name: number * part // whole for name, number in numbers.items()}
    if low != piece.start:
        part, whole = place(piece.start, piece.end, low)
        left = {name: left[name] - number * part // whole for name, number in numbers.items()}
    return replace(piece, start=low, end=high, **left)


def cut_run(run: Run, start: bytes, end: bytes | None) -> Run | None:
    """What of a run lies in [start, end), with its id; the run itself if all does, None if nothing does."""
    parts = [part for piece in run.slices if (part := cut_slice(piece, start, end)) is not None]
    if not parts:
        return None
    return run if parts == list(run.slices) else Run(run.id, tuple(parts))
