"""What the engine would do at a size that is not at hand.

>>> from nori_lsm import simulate
>>> workload = simulate.Workload(keys=2_000_000, write_bytes=500_000_000, reads_per_sec=20_000)
>>> report = simulate.run(workload, strategy="leveled")
>>> round(report.write_amp)  # doctest: +SKIP
5

The engine's own planner, scheduler, guards and manifest run, in memory and in simulated time, over tables that are
described instead of made. Keys lie evenly; where writes and reads lie among them, `ranges` say. Within a range all keys are
alike: what is skewed without order, as Zipf's keys scattered, is not modelled, nor are range deletes and expiry. The bound on
space takes all that is newer for new versions: filters, which tell new keys, are not made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from nori_lsm import _core
from nori_lsm.config import Config, config_pairs, override_pairs
from nori_lsm.reports import Progress

__all__ = ["Action", "Level", "Range", "Report", "Sample", "Workload", "hot_range", "run"]

_STARTS = {"written": 0, "placed": 1}


@dataclass(frozen=True)
class Range:
    """A part of the key space: its share of the keys, of the writes and of the gets and scans, each 0 to 1."""

    keys: float
    writes: float
    reads: float


def hot_range(keys: float, reads: float, writes: float | None = None, *, at: float = 0.4) -> tuple[Range, ...]:
    """Ranges of which one, that begins behind `at` of the keys and has the share `keys` of them, takes the share
    `reads` of the reads and `writes` of the writes (None: as many as of the keys)."""
    for name, share in (("keys", keys), ("at", at)):
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share!r}, must be above 0 and below 1")
    rest = 1 - keys
    if at + keys >= 1:
        raise ValueError(f"at is {at!r}: no keys are left behind the hot ones")
    taken = keys if writes is None else writes

    def cold(part: float) -> Range:
        return Range(part, (1 - taken) * part / rest, (1 - reads) * part / rest)

    return cold(at), Range(keys, taken, reads), cold(rest - at)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A load of all keys, then traffic at an even pace. Bytes are those of keys and values, sizes in bytes, rates by the
    second.

    keys                  how many there are; writes go to them, and gets ask for them
    stored_share          bytes of an entry in a table, without its filter, to those of key and value: what compression
                          leaves
    ranges                where writes and reads lie, in key order; each share sums to 1. None: everywhere alike
    write_bytes           traffic in all; of it the first warm_up_bytes are not measured
    delete_share          of the writes, 0 to below 1
    memtable_entries      that fill a memtable; 0: worked out from memtable.flush_trigger_bytes
    load_bytes_per_sec    pace of the load
    merge_bytes_per_sec   that one background job reads; there are io.max_background_jobs
    edit_secs             that a manifest edit takes
    probe_ns, rewrite_ns  what k_policy="cost" weighs: a run more that a get looks into, at most, and a byte rewritten.
                          The engine measures its own: 60 times what of the median get falls to one of its probes and
                          five more, and what a merge takes of a processor
    wait_at_depth         writers wait of themselves where level 0 is deeper than so many files; 0: never
    rotate_secs           each time so many have gone by, every range gets the reads of the one before; 0: never
    start                 "written": all keys are put once, in random order, first; "placed": begins with a tree that holds
                          them, its upper levels about full
    seed                  one seed, one run
    """

    keys: int = 1_000_000
    key_bytes: int = 16
    value_bytes: int = 100
    stored_share: float = 1.0
    ranges: tuple[Range, ...] | None = None
    write_bytes: int = 0
    warm_up_bytes: int = 0
    write_bytes_per_sec: float = 8 << 20
    reads_per_sec: float = 0.0
    scans_per_sec: float = 0.0
    delete_share: float = 0.0
    memtable_entries: int = 0
    load_bytes_per_sec: float = 32 << 20
    merge_bytes_per_sec: float = 200 << 20
    edit_secs: float = 0.002
    probe_ns: float = 500.0
    rewrite_ns: float = 10.0
    wait_at_depth: int = 0
    rotate_secs: float = 0.0
    start: Literal["written", "placed"] = "written"
    seed: int = 0

    @classmethod
    def of_bytes(cls, total_bytes: int, **values: Any) -> Workload:
        """With as many keys as `total_bytes` of keys and values are; `values` are fields."""
        sizes = cls(**{name: values[name] for name in ("key_bytes", "value_bytes") if name in values})
        return cls(keys=max(total_bytes // (sizes.key_bytes + sizes.value_bytes), 1), **values)

    def _numbers(self) -> dict[str, int | float]:
        if self.start not in _STARTS:
            raise ValueError(f"start is {self.start!r}, must be 'written' or 'placed'")
        numbers = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "ranges"}
        return numbers | {"start": _STARTS[self.start]}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Level:
    """A level at the end. `files` counts one that lies in several slots in each of them; `mean_k` is of its slots."""

    slots: int
    runs: int
    files: int
    bytes: int
    most_runs: int
    mean_k: float


@dataclass(frozen=True)
class Action:
    """What was done how often, and the bytes of tables that it wrote; flushes apart."""

    action: str
    count: int
    bytes: int


@dataclass(frozen=True)
class Sample:
    """A stretch of the measured traffic: `write_amp` is of the stretch, all else at its end, `seconds` after the load."""

    seconds: float
    write_amp: float
    space_amp: float
    read_amp: float
    blocks_per_read: float
    l0_depth: int
    files: int
    slots: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a simulation came to. Of the measured traffic, and the drain after it, where nothing else is said.

    seconds               simulated; wall_seconds: that the simulation took
    user_bytes            keys and values written, deletes too
    write_amp             bytes of tables and manifest by byte of the user's, the log apart; max_write_amp: of a sample
    load_write_amp        the same of the load; 0 where the tree was placed
    read_amp              runs that a get looks into, whatever their filters say; range_read_amp: for gets of each range
    blocks_per_read       blocks that a get reads when nothing is cached
    space_amp             bytes of table files by byte of one entry for each live key
    stall_share           of the time, that writers stalled or were delayed; waited_share: waited of themselves
    table_bytes, files    at the end; peak_files and peak_slots: at most
    filter_bytes          of all tables, were they in memory at once; so is index_bytes, about
    memory_bytes          of the tree itself: slots, runs, files
    snapshot_bytes        of a manifest that holds the tree; open_seconds: that reading it back took here
    plans                 times that work was looked for, and planning_seconds of wall time that took;
                          installing_seconds: that making, writing and applying `edits` took
    """

    seconds: float
    wall_seconds: float
    user_bytes: int
    flush_bytes: int
    compaction_bytes: int
    manifest_bytes: int
    load_write_amp: float
    write_amp: float
    max_write_amp: float
    read_amp: float
    max_read_amp: float
    range_read_amp: tuple[float, ...]
    blocks_per_read: float
    space_amp: float
    max_space_amp: float
    stall_share: float
    waited_share: float
    table_bytes: int
    files: int
    peak_files: int
    peak_slots: int
    filter_bytes: int
    index_bytes: int
    memory_bytes: int
    snapshot_bytes: int
    open_seconds: float
    plans: int
    planning_seconds: float
    edits: int
    installing_seconds: float
    levels: tuple[Level, ...]
    actions: tuple[Action, ...]
    samples: tuple[Sample, ...]

    @classmethod
    def _from_numbers(cls, numbers: Mapping[str, Any]) -> Report:
        parts = {
            "levels": tuple(Level(**level) for level in numbers["levels"]),
            "actions": tuple(Action(**action) for action in numbers["actions"]),
            "samples": tuple(Sample(**sample) for sample in numbers["samples"]),
            "range_read_amp": tuple(numbers["range_read_amp"]),
        }
        return cls(**{**numbers, **parts})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"write amplification {self.write_amp:.2f} (at most {self.max_write_amp:.2f}), "
            f"read {self.read_amp:.2f} runs ({self.max_read_amp:.2f}), "
            f"{self.blocks_per_read:.2f} blocks, space {self.space_amp:.2f} ({self.max_space_amp:.2f})",
            f"{self.files:,} files of {self.table_bytes / 1e9:,.1f} GB, {self.peak_slots:,} slots, "
            f"filters {self.filter_bytes / 1e6:,.0f} MB, indexes {self.index_bytes / 1e6:,.0f} MB, "
            f"tree {self.memory_bytes / 1e6:,.0f} MB; manifest {self.manifest_bytes / 1e6:,.1f} MB written, "
            f"{self.snapshot_bytes / 1e6:,.1f} MB to open in {self.open_seconds:.2f} s",
            f"stalled {self.stall_share:.1%} of {self.seconds:,.0f} s; simulated in {self.wall_seconds:,.1f} s",
        ]
        lines += [
            f"L{number}  {level.slots:>8,} slots {level.runs:>9,} runs {level.bytes / 1e9:>10,.2f} GB  K {level.mean_k:.2f}"
            for number, level in enumerate(self.levels)
            if level.runs
        ]
        lines += [f"{a.action:<9}{a.count:>10,}  {a.bytes / 1e9:>10,.2f} GB" for a in self.actions]
        return "\n".join(lines)


def run(
    workload: Workload,
    config: Config | None = None,
    *,
    progress: Callable[[Progress], object] | None = None,
    **overrides: Any,
) -> Report:
    """Simulates the workload with a configuration (None: the defaults) and `overrides` as open() takes them. `progress` is
    called often; an exception of it ends the simulation. ValueError names a field out of range."""
    if config is not None and not isinstance(config, Config):
        raise TypeError(f"config must be a Config or None, not {type(config).__name__}")
    options = config_pairs(config or Config()) + override_pairs(overrides)
    ranges = [(part.keys, part.writes, part.reads) for part in workload.ranges or ()]
    return Report._from_numbers(_core.simulate(options, workload._numbers(), ranges, progress))
