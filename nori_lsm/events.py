"""What an engine did, and what it chose: `Event` and `Decision`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Decision", "Event"]

Key = bytes  # Decision has a field of the name of the type.


@dataclass(frozen=True)
class Event:
    """Something the engine did, at `seconds` of the monotonic clock.

    flush               bytes, entries, memtables, micros
    compaction          action, level, target_level, slot_id, key, bytes_in, bytes_out, runs, micros, decision
    admission           likewise: level 0 into level 1. No bytes_out: the run was moved, not rewritten
    guard_move          action, level, slot_id, key, parts, micros
    bandit_selection    action, decision, level, slot_id, key, explored, predicted_reward
    bandit_reward       action, decision, level, slot_id, key, predicted_reward, realised_reward
    slot_heat           mode, level, slot_id, key, heat, read_heat, write_heat, scan_heat, k_max
    pressure_zone       zone, score, l0_fill, memory_fill, memtable_fill
    wal_segment         action ("created" | "deleted"), segments (there are), count (of them new or gone), micros
    cache               hits, misses: since the last such event
    stall               reason, begun (False: it ended, after micros)
    background_error    message, errno (0: none)

    `key` is where the range concerned begins, cut to 32 bytes. Events are numbered: a gap says that some were dropped.
    """

    name: str
    seconds: float
    fields: Mapping[str, Any]
    number: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """A choice of what to compact next: what promised what (`explored`: drawn by chance), and what came of it.

    `realised_reward` is NaN until it is known; `bytes` and `micros` are 0 until the work is `done`. `context` is what
    the slot was judged by. `start` is cut to 32 bytes.
    """

    sequence: int
    seconds: float
    slot_id: int
    level: int
    start: Key
    action: str
    explored: bool
    predicted_reward: float
    realised_reward: float
    done: bool
    bytes: int
    micros: int
    context: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
