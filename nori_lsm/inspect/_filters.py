"""Filters of tables, which know most keys that a table does not hold (FORMAT.md 11.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from nori_lsm.inspect._bytes import MASK, Cursor, Place, checksum

__all__ = ["BloomFilter", "Filter", "RibbonFilter", "read_bloom", "read_ribbon"]


class Filter(Protocol):
    """A filter of either kind."""

    def may_hold(self, key: bytes) -> bool:
        """False: the table has no entry of this key."""

    def to_dict(self) -> dict[str, Any]: ...


def _fold(word: int) -> int:
    return word ^ (word >> 32)


@dataclass(frozen=True)
class BloomFilter:
    """Lines of 64 bytes; each key has its `probes` bits set in one of them."""

    probes: int
    lines: int
    data: bytes = field(repr=False)

    def may_hold(self, key: bytes) -> bool:
        hashed = checksum(key)
        line = 64 * (((hashed >> 32) * self.lines) >> 32)
        word = hashed
        for probe in range(self.probes):
            if probe % 7 == 0:
                word = _fold(_fold(word) * 0x9E3779B97F4A7C15 & MASK)
            position = (word >> (9 * (probe % 7))) & 511
            if not self.data[line + (position >> 3)] >> (position & 7) & 1:
                return False
        return True

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "bloom", "probes": self.probes, "lines": self.lines}


@dataclass(frozen=True)
class RibbonFilter:
    """Linear equations over bits, solved so that every key's holds."""

    result_bits: int
    seed: int
    blocks: int
    data: bytes = field(repr=False)

    def _slots(self, start: int, bit: int) -> int:
        """That result bit of the 64 slots from `start` on, slot start + k in bit k."""
        block, shift = divmod(start, 64)
        words = self._word(block, bit)
        if shift:
            words |= self._word(block + 1, bit) << 64
        return words >> shift & MASK

    def _word(self, block: int, bit: int) -> int:
        at = 8 * (block * self.result_bits + bit)
        return int.from_bytes(self.data[at : at + 8], "little")

    def may_hold(self, key: bytes) -> bool:
        base = _fold((checksum(key) ^ (self.seed * 0x94D049BB133111EB & MASK)) * 0x9E3779B97F4A7C15 & MASK)
        start = ((base * 0xD6E8FEB86659FD93 & MASK) >> 32) * ((self.blocks - 1) * 64) >> 32
        mixed = _fold(base * 0xBF58476D1CE4E5B9 & MASK)
        coefficients = mixed | 1
        fingerprint = (mixed * 0xA24BAED4963EE407 & MASK) >> (64 - self.result_bits)
        return all(
            (self._slots(start, bit) & coefficients).bit_count() & 1 == fingerprint >> bit & 1
            for bit in range(self.result_bits)
        )

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "ribbon", "result_bits": self.result_bits, "seed": self.seed, "blocks": self.blocks}


def _tail(payload: bytes, place: Place) -> tuple[int, int, int, bytes]:
    """The two small numbers and the count behind the lines or blocks, and what stands before them."""
    if len(payload) < 16:
        raise Cursor(payload, place).fail("shorter than its numbers")
    cursor = Cursor(payload, place, len(payload) - 16)
    return cursor.fixed(4), cursor.fixed(4), cursor.fixed(8), payload[:-16]


def read_bloom(payload: bytes, place: Place) -> BloomFilter:
    """The filter in a section of kind 1. CorruptionError if its numbers cannot be right."""
    kind, probes, lines, data = _tail(payload, place)
    if kind != 1 or not 1 <= probes <= 30 or not 1 <= lines < 1 << 32 or len(data) != 64 * lines:
        raise Cursor(payload, place).fail(f"kind {kind}, {probes} probes, {lines} lines in {len(data)} bytes")
    return BloomFilter(probes, lines, data)


def read_ribbon(payload: bytes, place: Place) -> RibbonFilter:
    """The filter in a section of kind 5. CorruptionError if its numbers cannot be right."""
    bits, seed, blocks, data = _tail(payload, place)
    if not 1 <= bits <= 32 or not 2 <= blocks < 1 << 26 or len(data) != 8 * bits * blocks:
        raise Cursor(payload, place).fail(f"{bits} result bits, {blocks} blocks in {len(data)} bytes")
    return RibbonFilter(bits, seed, blocks, data)
