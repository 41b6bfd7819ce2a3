"""HEAT, and what the scheduler learned (FORMAT.md 17, 18)."""

from __future__ import annotations

import math
import struct
import sys
from dataclasses import asdict, dataclass
from typing import Any

from nori_lsm._core import CorruptionError
from nori_lsm.inspect._bytes import Cursor, Data, Place, checksum, damaged, place_seed
from nori_lsm.inspect._header import HEADER_BYTES, FileHeader, read_header

__all__ = ["Arm", "Heat", "HeatSection", "Learned", "Model", "Sketch", "SketchItem", "SlotHeat", "read_heat", "read_learned"]

MAX_HEAT_BYTES = 64 << 20
MAX_SECTION_BYTES = 64 << 10
LEARNED_MAGIC = 0x4E53434C
MAX_COUNT = 1e6
MAX_RATIO = 2.0**10
TERMS = 9
ACTION_NAMES = (
    "none", "merge level 0", "admit", "tier", "promote", "clean", "split", "level", "space", "join", "shift",
)  # fmt: skip
SECTION_NAMES = {1: "sketch of flushed keys", 2: "sketch of keys asked for"}


@dataclass(frozen=True)
class Arm:
    """What came of an action on slots of a level. context: 2 if reads are hot, plus 1 if there were more runs than K."""

    action: int
    level: int
    context: int
    choices: float
    rewards: float
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Model:
    """Of an action: the lower triangle of the sum of products of its terms, by rows, and the sum of ratio times term."""

    action: int
    products: tuple[float, ...]
    ratios: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Learned:
    """What a scheduler learned: counts that fade, the ratio of rewards, where a round robin stands, arms and models."""

    rewards: float
    mean_ratio: float
    ratio_variance: float
    last_level: int
    last_slot_id: int
    last_action: int
    choices: float
    arms: tuple[Arm, ...]
    models: tuple[Model, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SlotHeat:
    """Of the slot that begins at `guard`: rates a second, bytes that arrived and that merges wrote."""

    level: int
    guard: bytes
    reads_per_sec: float
    bytes_per_sec: float
    scans_per_sec: float
    runs_per_read: float
    arrived_bytes: int
    merged_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SketchItem:
    """A key, cut to 64 bytes, and the weight that it stands for: 2^(shift + level)."""

    level: int
    key: bytes
    weight: int


@dataclass(frozen=True)
class Sketch:
    """A sample of keys by weight."""

    shift: int
    items: tuple[SketchItem, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class HeatSection:
    """A section behind the body. sketch: None if its kind is not known, or its content does not fit."""

    offset: int
    kind: int
    bytes: int
    sketch: Sketch | None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "name": SECTION_NAMES.get(self.kind)}


@dataclass(frozen=True)
class Heat:
    """What an engine has observed. learned: None if it counts as none. lost_at: the byte from which on sections are
    lost; None: they are all there."""

    header: FileHeader
    slots: tuple[SlotHeat, ...]
    learned: Learned | None
    sections: tuple[HeatSection, ...]
    lost_at: int | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _real(cursor: Cursor, low: float, high: float) -> float:
    value = float(struct.unpack("<d", cursor.take(8))[0])
    if not low <= value <= high:
        raise cursor.fail(f"{value} is not within {low} and {high}")
    return value


def _bounded(cursor: Cursor, most: int) -> int:
    value = cursor.varint()
    if value > most:
        raise cursor.fail(f"{value} where {most} is the most")
    return value


def _arm(cursor: Cursor) -> Arm:
    number = _bounded(cursor, 703)
    reals = [_real(cursor, 0, MAX_COUNT), _real(cursor, 0, MAX_COUNT), _real(cursor, 0, MAX_RATIO)]
    return Arm(number >> 6, number >> 2 & 15, number & 3, *reals)


def _is_positive_definite(products: tuple[float, ...]) -> bool:
    """Whether the matrix of that lower triangle, plus the unit matrix, is: its Cholesky factors are real."""
    rows: list[list[float]] = []
    for i in range(TERMS):
        row: list[float] = []
        for j in range(i + 1):
            value = products[i * (i + 1) // 2 + j] + (i == j)
            value -= sum(a * b for a, b in zip(row, rows[j] if j < i else row, strict=False))
            if j < i:
                row.append(value / rows[j][j])
            elif not value > 0:
                return False
            else:
                row.append(math.sqrt(value))
        rows.append(row)
    return True


def _model(cursor: Cursor) -> Model:
    action = _bounded(cursor, 10)
    products = tuple(_real(cursor, 0, MAX_COUNT) for _ in range(TERMS * (TERMS + 1) // 2))
    ratios = tuple(_real(cursor, 0, MAX_RATIO * MAX_COUNT) for _ in range(TERMS))
    if not _is_positive_definite(products):
        raise cursor.fail("a model's matrix is not positive definite")
    return Model(action, products, ratios)


def read_learned(data: Data, place: Place) -> Learned:
    """What the scheduler learned (FORMAT.md 18). CorruptionError if it counts as none."""
    cursor = Cursor(data, place, 0, max(len(data) - 8, 0))
    wanted = int.from_bytes(bytes(data[-8:]), "little")
    if cursor.fixed(4) != LEARNED_MAGIC or checksum(data[:-8], LEARNED_MAGIC) != wanted:
        raise cursor.fail("not what a scheduler learned, or its checksum is wrong")
    version = cursor.fixed(4)
    if version != 1:
        raise cursor.fail(f"version {version} is not known")
    rewards, mean, variance = (_real(cursor, *bounds) for bounds in ((0, MAX_COUNT), (2.0**-10, MAX_RATIO), (0, 2.0**20)))
    level, slot_id, action = _bounded(cursor, 15), cursor.varint(), _bounded(cursor, 10)
    choices = _real(cursor, 0, MAX_COUNT)
    arms = tuple(_arm(cursor) for _ in range(_bounded(cursor, 704)))
    models = tuple(_model(cursor) for _ in range(_bounded(cursor, 11)))
    cursor.finish()
    numbers = [(arm.action, arm.level, arm.context) for arm in arms]
    actions = [model.action for model in models]
    if numbers != sorted(set(numbers)) or actions != sorted(set(actions)):
        raise cursor.fail("arms or models do not rise")
    return Learned(rewards, mean, variance, level, slot_id, action, choices, arms, models)


def _sketch(content: bytes, place: Place) -> Sketch:
    cursor = Cursor(content, place)
    shift = _bounded(cursor, 48)
    items: list[SketchItem] = []
    for _ in range(_bounded(cursor, 838)):
        level = _bounded(cursor, 11)
        items.append(SketchItem(level, cursor.sized(64), 1 << (shift + level)))
    cursor.finish()
    if sum(item.weight for item in items) > 1 << 62:
        raise cursor.fail("a sketch weighs too much")
    return Sketch(shift, tuple(items))


def _section(cursor: Cursor, header: FileHeader) -> HeatSection:
    begin = cursor.position
    kind, content = cursor.varint(), cursor.sized()
    end = cursor.position
    if cursor.fixed(8) != checksum(cursor.data[begin:end], place_seed(header.database_id, 0, begin)):
        raise cursor.fail("its checksum is wrong")
    sketch: Sketch | None = None
    if kind in SECTION_NAMES and len(content) <= MAX_SECTION_BYTES:
        try:
            sketch = _sketch(content, cursor.place)
        except CorruptionError:
            pass
    return HeatSection(begin, kind, cursor.position - begin, sketch)


def read_heat(data: Data, path: str = "HEAT", *, database_id: int | None = None) -> Heat:
    """The content of HEAT (FORMAT.md 17). CorruptionError or FormatError where an engine goes on as if there were none;
    sections that are lost, and what in it counts as none, raise nothing."""
    header = read_header(data, path, "heat", number=0, database_id=database_id)
    place = Place(path, HEADER_BYTES, "heat")
    if len(data) > MAX_HEAT_BYTES:
        raise damaged(place, f"{len(data)} bytes")
    cursor = Cursor(data, place, HEADER_BYTES)
    slots: list[SlotHeat] = []
    for _ in range(cursor.varint()):
        level, guard = cursor.varint(), cursor.key()
        if level == 0:
            raise cursor.fail("a slot of level 0")
        reads, arriving, scans, runs = (_real(cursor, 0, sys.float_info.max) for _ in range(4))
        slots.append(SlotHeat(level, guard, reads, arriving, scans, runs, cursor.varint(), cursor.varint()))
    learned_bytes = cursor.sized()
    end = cursor.position
    if cursor.fixed(8) != checksum(data[HEADER_BYTES:end], place_seed(header.database_id, 0, HEADER_BYTES)):
        raise cursor.fail("its checksum is wrong")
    try:
        learned = read_learned(learned_bytes, place)
    except CorruptionError:
        learned = None
    sections: list[HeatSection] = []
    lost_at: int | None = None
    while cursor.left and lost_at is None:
        begin = cursor.position
        try:
            sections.append(_section(cursor, header))
        except CorruptionError:
            lost_at = begin
    return Heat(header, tuple(slots), learned, tuple(sections), lost_at)
