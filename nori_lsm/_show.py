"""What a terminal is shown: stats and slots as tables, once or live; reports, and progress."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import nori_lsm
from nori_lsm._terminal import ProgressBar, format_bytes, format_key, format_table
from nori_lsm.reports import Finding, Progress, RepairFinding, RepairReport, VerifyReport
from nori_lsm.stats import COUNTERS, Slot, Stats

if TYPE_CHECKING:
    from nori_lsm.backup import Backup

__all__ = ["backed_up", "everything", "levels", "overview", "progress", "repaired", "verified", "watch"]

_HEAT_CHARACTERS = 10
_CLEAR = "\x1b[H\x1b[2J"


def overview(stats: Stats) -> str:
    """What it costs, and what was written and why, in this process."""
    user = stats.user_bytes_written
    causes = [
        ("put", user),
        ("log", stats.wal_bytes_written),
        ("flush", stats.flush_bytes_written),
        ("compaction", stats.compaction_bytes_written),
        ("manifest", stats.manifest_bytes_written),
    ]
    amplification = [
        ("write", f"{stats.write_amp:.2f}", "flush, compaction and manifest bytes per byte put"),
        ("read", f"{stats.read_amp:.2f}", "runs looked at per get"),
        ("blocks", f"{stats.blocks_per_get:.2f}", "blocks read per get"),
        ("space", f"{stats.space_amp:.2f}", "bytes on disk per live byte"),
        ("pressure", f"{stats.pressure:.2f}", stats.zone),
    ]
    return "\n\n".join(
        [
            format_table(["amplification", "", ""], [(a, c, b) for a, b, c in amplification], left=2),
            format_table(
                ["written", "bytes", "per byte put"],
                [(name, format_bytes(count), f"{count / user:.2f}" if user else "") for name, count in causes],
                left=1,
            ),
        ]
    )


def latencies(stats: Stats) -> str:
    names = ["count", "p50", "p95", "p99", "p999", "max"]
    rows = [
        (op, *(f"{times[name]:,.0f}" if name == "count" else f"{times[name]:,.1f}" for name in names))
        for op, times in stats.latency_micros.items()
        if times["count"]
    ]
    return format_table(["latency, micros", *names], rows, left=1) if rows else ""


def counters(stats: Stats) -> str:
    """All of it, by name."""
    named = {name: value for name, value in stats.to_dict().items() if name != "latency_micros"}
    rows = [(name, _number(value), "since open" if name in COUNTERS else "now") for name, value in named.items()]
    return format_table(["counter", "value", ""], rows, left=1)


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


def levels(stats: Stats, slots: Sequence[Slot]) -> str:
    rows = [("0", "", f"{stats.l0_files} deep", "", "", "", "", "")]
    for level in sorted({slot.level for slot in slots}):
        mine = [slot for slot in slots if slot.level == level]
        rows.append(
            (
                str(level),
                f"{len(mine)}",
                f"{max(slot.runs for slot in mine)} of {max(slot.k_max for slot in mine)}",
                f"{sum(slot.files for slot in mine):,}",
                format_bytes(sum(slot.bytes for slot in mine)),
                f"{sum(slot.entries for slot in mine):,}",
                f"{max(slot.heat for slot in mine):.2f}",
                f"{max(slot.tombstone_density for slot in mine):.2f}",
            )
        )
    return format_table(["level", "slots", "runs", "files", "bytes", "entries", "heat", "deletes"], rows, left=1)


def table_of_slots(slots: Sequence[Slot]) -> str:
    rows = [
        (
            str(slot.level),
            str(slot.slot_id),
            f"[{format_key(slot.start, 24)}, {'' if slot.stop is None else format_key(slot.stop, 24)})",
            "#" * round(min(max(slot.heat, 0.0), 1.0) * _HEAT_CHARACTERS),
            slot.mode,
            f"{slot.runs}/{slot.k_max}",
            f"{slot.files:,}",
            format_bytes(slot.bytes),
            f"{slot.entries:,}",
        )
        for slot in slots
    ]
    return format_table(["level", "slot", "keys", "heat", "mode", "runs", "files", "bytes", "entries"], rows, left=5)


def everything(stats: Stats, slots: Sequence[Slot]) -> str:
    parts = [overview(stats), latencies(stats), levels(stats, slots)]
    parts += [table_of_slots(slots) if slots else "", counters(stats)]
    return "\n\n".join(part for part in parts if part)


def watch(path: str, interval: float, times: int | None) -> int:
    """Opens for reading again and again. Counters are the writer's own, so what is shown is the tree."""
    seen = 0
    try:
        while times is None or seen < times:
            if seen:
                time.sleep(interval)
            seen += 1
            text = _look(path)
            if sys.stdout.isatty():
                height = shutil.get_terminal_size().lines - 1
                text = _CLEAR + "\n".join(text.splitlines()[:height])
            print(text, flush=True)
    except KeyboardInterrupt:
        pass
    return 0


def _look(path: str) -> str:
    try:
        with nori_lsm.open(path, read_only=True) as db:
            stats, slots = db.stats(), db.slots()
    except (nori_lsm.StaleError, nori_lsm.CorruptionError) as error:
        # The writer may have been faster than we; if not, the next look says the same.
        return f"{time.strftime('%X')}  {error}"
    head = f"{time.strftime('%X')}  {path}  {format_bytes(stats.bytes_on_disk)} on disk, space amplification {stats.space_amp:.2f}"
    hottest = sorted(slots, key=lambda slot: (-slot.heat, -slot.runs, slot.level, slot.start))
    return "\n\n".join([head, levels(stats, slots), table_of_slots(hottest)] if slots else [head, levels(stats, slots)])


# ---------------------------------------------------------------- reports


@contextmanager
def progress() -> Iterator[Callable[[Progress], None] | None]:
    """What a long call tells its progress to, a bar for each phase; None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    with ExitStack() as bars:
        bar, phase = None, ""

        def tell(how_far: Progress) -> None:
            nonlocal bar, phase
            if bar is None or how_far.phase != phase:
                bar, phase = bars.enter_context(ProgressBar(how_far.phase, how_far.total)), how_far.phase
            bar.update(how_far.done)

        yield tell


def _finding(finding: Finding) -> str:
    return finding.message if finding.path in finding.message else f"{finding.path}: {finding.message}"


def verified(report: VerifyReport) -> str:
    read = f"read {report.files:,} files, {report.blocks:,} blocks, {report.entries:,} entries: "
    found = "nothing is wrong" if report.ok else f"{len(report.findings):,} findings"
    return "\n".join([*map(_finding, report.findings), read + found])


def backed_up(made: Backup) -> str:
    new = f"{made.new_files:,} of {made.files:,} files new, {format_bytes(made.new_bytes)} of {format_bytes(made.bytes)}"
    return f"backup {made.number}, of sequence {made.sequence:,}: {new}"


_BASES = {
    "manifest": "by the manifest",
    "prefix": "by what can be read of a manifest",
    "tables": "without a manifest: what was replaced or deleted may be among it",
}


def _keys_of(finding: RepairFinding) -> str:
    if finding.start is None:
        return ""
    stop = "the end" if finding.stop is None else format_key(finding.stop, 40)
    return f"\n    keys from {format_key(finding.start, 40) or 'the first'} to {stop}: {finding.dropped:,} entries left out"


def repaired(report: RepairReport) -> str:
    lines = [_finding(finding) + _keys_of(finding) for finding in report.findings]
    if report.unlisted:
        lines.append(f"and {report.unlisted:,} more")
    lines += [
        f"read {report.files:,} files, {report.blocks:,} whole blocks, {report.lost_blocks:,} damaged ones, "
        f"{_BASES[report.basis]}",
        f"wrote {report.entries:,} entries to {report.path}, up to sequence {report.sequence:,}; "
        f"{report.dropped:,} left out for doubt",
    ]
    return "\n".join(lines)
