"""What a table says of itself, in the table and in the manifest (FORMAT.md 11.7)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nori_lsm.inspect._bytes import MAX_RANGE_END_BYTES, MAX_SEQUENCE, Cursor

__all__ = ["Properties", "read_properties"]


@dataclass(frozen=True)
class Properties:
    """Of a table. `end` is exclusive, None: infinite. Times are in milliseconds of the TTL clock, lifetime_ms a length
    of time; 0 of those, of fresh_entries and of distinct_keys is: not known. key_bytes and value_bytes are before
    compression."""

    smallest: bytes
    end: bytes | None
    smallest_sequence: int
    largest_sequence: int
    entries: int
    deletes: int
    range_tombstones: int
    key_bytes: int
    value_bytes: int
    puts_without_expiry: int
    smallest_expiry_ms: int
    largest_expiry_ms: int
    data_blocks: int
    level: int
    slot_id: int
    created_at_ms: int
    lifetime_ms: int = 0
    fresh_entries: int = 0
    distinct_keys: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_properties(outer: Cursor) -> Properties:
    """Takes properties from the cursor, their length in front. What a later version adds within it is skipped."""
    cursor = Cursor(outer.sized(), outer.place)
    smallest = cursor.key()
    infinite = cursor.flag()
    end = cursor.sized(MAX_RANGE_END_BYTES)
    if infinite and end:
        raise cursor.fail("an infinite end is not empty")
    numbers = [cursor.varint() for _ in range(14)]
    numbers += [cursor.varint() if cursor.left else 0 for _ in range(3)]
    properties = Properties(smallest, None if infinite else end, *numbers)
    if properties.end is not None and properties.end <= smallest and properties.entries + properties.range_tombstones:
        raise cursor.fail("the end is not above the smallest key")
    if properties.largest_sequence > MAX_SEQUENCE:
        raise cursor.fail(f"sequence {properties.largest_sequence}")
    if properties.smallest_sequence > properties.largest_sequence or properties.deletes > properties.entries:
        raise cursor.fail("numbers that cannot be right together")
    if properties.fresh_entries > properties.entries:
        raise cursor.fail("more fresh entries than entries")
    if properties.distinct_keys > properties.entries:
        raise cursor.fail("more different keys than entries")
    return properties
