"""Tables of a run, ratios to leveled compaction, and the bars that ATLL is held to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.report import failure_text, table
from benchmarks.runner import Results

from .spec import FOLLOWED_INTERVAL_SECS
from .workloads import ROTATIONS

MIB = 1 << 20
ADAPTIVE, OWN, ROCKS = "atll", "leveled", "rocksdb-leveled"
Row = dict[str, Any]
Measure = Callable[[Row], float]


def field(*path: str) -> Measure:
    def measure(row: Row) -> float:
        found: Any = row
        for name in path:
            found = found[name]
        return float(found)

    return measure


def most_space(row: Row) -> float:
    """In both phases."""
    return float(max(row["space"]["max"], row["space_full_speed"].get("max", 0)))


write_amp = field("write_amp")
hot_probes = field("probes", "hot")
cold_probes = field("probes", "cold")
hot_p99 = field("latency", "hot", "p99")
rate = field("rate")


def middle(results: Results, engine: str, workload: str, measure: Measure) -> float | None:
    found = []
    for row in results.rows:
        if row["engine"] == engine and row["workload"] == workload:
            try:
                found.append(measure(row))
            except KeyError:  # Not measured in this workload.
                pass
    return median(found) if found else None


def ratio(results: Results, engine: str, peer: str, workload: str, measure: Measure) -> float | None:
    ours, theirs = (middle(results, name, workload, measure) for name in (engine, peer))
    return ours / theirs if ours is not None and theirs else None


@dataclass
class Bar:
    workload: str
    what: str
    value: float | None
    limit: float
    is_floor: bool = False

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "-"
        return "PASS" if (self.value >= self.limit if self.is_floor else self.value <= self.limit) else "FAIL"


WRITE_LIMITS = {
    "read_hot": 0.65,
    "tenants": 0.65,
    "write_only": 0.65,
    "rw_hot": 0.85,
    "time_series": 0.6,
    "monotone": 1.0,
    "rotating": 1.0,
    "uniform": 1.0,
    "ycsb_a": 1.0,
}
SKEWED = ("read_hot", "rw_hot", "tenants", "time_series", "rotating")


def bars(results: Results, engine: str) -> Iterator[Bar]:
    present = dict.fromkeys(row["workload"] for row in results.rows)
    for name in present:
        for peer in (OWN, ROCKS):
            value = ratio(results, engine, peer, name, write_amp)
            yield Bar(name, f"bytes written / {peer}", value, WRITE_LIMITS[name])
        if name == "rotating" and engine == ADAPTIVE:
            yield Bar(name, "heat intervals until followed", middle(results, engine, name, intervals_to_follow), 5)
        if name == "monotone":
            yield Bar(name, "bytes written / user bytes", middle(results, engine, name, write_amp), 1.2)
        for peer in (OWN, ROCKS) if name != "write_only" else ():
            probes = ratio(results, engine, peer, name, hot_probes)
            yield Bar(name, f"probes, {'hot' if name in SKEWED else 'all'} / {peer}", probes, 1.1)
            p99 = ratio(results, engine, peer, name, hot_p99)
            yield Bar(name, f"p99, {'hot' if name in SKEWED else 'all'} / {peer}", p99, 1.15 if name in SKEWED else 1.1)
        yield Bar(name, "most space", middle(results, engine, name, most_space), 1.3)
        yield Bar(name, f"rate / {ROCKS}", ratio(results, engine, ROCKS, name, rate), 2.0, is_floor=True)


def own_bars(results: Results) -> Iterator[Bar]:
    """Whether the leveled engine that we compare with is a fair one."""
    for name in dict.fromkeys(row["workload"] for row in results.rows):
        yield Bar(name, "leveled, bytes written / rocksdb-leveled", ratio(results, OWN, ROCKS, name, write_amp), 1.15)
        if name != "write_only":
            yield Bar(name, "leveled, probes / rocksdb-leveled", ratio(results, OWN, ROCKS, name, hot_probes), 1.15)


def text(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


COLUMNS: dict[str, tuple[Measure, int]] = {
    "written": (write_amp, 2),
    "of it flushed": (field("flush_amp"), 2),
    "probes hot": (hot_probes, 2),
    "probes else": (cold_probes, 2),
    "at rest hot": (field("rest", "hot", "probes"), 2),
    "at rest else": (field("rest", "cold", "probes"), 2),
    "blocks hot": (field("rest", "hot", "blocks"), 2),
    "blocks else": (field("rest", "cold", "blocks"), 2),
    "space most": (field("space", "max"), 2),
    "space mean": (field("space", "mean"), 2),
    "files most": (field("space", "files_max"), 2),
    "processor s": (field("processor_seconds"), 1),
    "waited s": (field("waited_seconds"), 1),
}
FULL_SPEED: dict[str, tuple[Measure, int]] = {
    "k/s": (lambda row: row["rate"] / 1e3, 0),
    "written": (field("full_speed", "write_amp"), 2),
    "probes hot": (field("full_speed", "probes", "hot"), 2),
    "probes else": (field("full_speed", "probes", "cold"), 2),
    "space most": (field("space_full_speed", "max"), 2),
    "stalled s": (field("full_speed", "stall_seconds"), 1),
    "drain s": (field("full_speed", "drain_seconds"), 1),
}
LATENCIES = ("p50", "p99", "p999")


def measures(results: Results, workload: str, title: str, columns: dict[str, tuple[Measure, int]]) -> str:
    rows = [
        [engine, *(text(middle(results, engine, workload, measure), digits) for measure, digits in columns.values())]
        for engine in results.versions
    ]
    return table([f"{workload}, {title}", *columns], rows)


def latencies(results: Results, workload: str) -> str:
    rows = []
    for engine in results.versions:
        cells = [
            text(middle(results, engine, workload, field("latency", part, name)), 1)
            for part in ("hot", "cold")
            for name in LATENCIES
        ]
        rows.append([engine, *cells])
    return table([f"{workload}, get, us", *LATENCIES, *(f"else {name}" for name in LATENCIES)], rows)


def ratios(results: Results, workload: str) -> str:
    rows = []
    for engine in results.versions:
        cells = [
            text(ratio(results, engine, peer, workload, measure))
            for peer in (OWN, ROCKS)
            for measure in (write_amp, hot_probes, cold_probes, hot_p99, rate)
        ]
        rows.append([engine, *cells])
    names = ("written", "probes hot", "else", "p99 hot", "rate")
    return table([f"{workload}, ratio", *(f"{name} / {peer}" for peer in (OWN, ROCKS) for name in names)], rows)


def shapes(results: Results, workload: str) -> str:
    lines = []
    for engine in results.versions:
        rows = [row for row in results.rows if row["engine"] == engine and row["workload"] == workload]
        if rows:
            lines.append(f"- {engine}: " + "; ".join(level_text(level) for level in rows[-1]["shape"]))
    return f"Shape at the end, {workload}:\n\n" + "\n".join(lines)


def level_text(level: dict[str, Any]) -> str:
    said = [f"level {level['level']}"]
    if "bytes" in level:
        said.append(f"{level['bytes'] / MIB:.1f} MiB in {level['files']} files")
    if "slots" in level:
        said.append(f"{level['slots']} slots, runs {level['mean_runs']:.2f} (most {level['most_runs']})")
        said.append(", ".join(f"{count} {mode}" for mode, count in level["modes"].items()))
    elif "runs" in level:
        said.append(f"{level['runs']} runs")
    return " ".join(said[:1]) + ": " + ", ".join(said[1:])


def system_check(results: Results) -> str:
    rows = [
        [
            f"{row['workload']}, {row['engine']}",
            f"{row['counted_bytes'] / MIB:,.0f}",
            f"{row['system_written'] / MIB:,.0f}",
            f"{row['system_dirtied'] / MIB:,.0f}",
        ]
        for row in results.rows
    ]
    return table(["MiB written, log included", "counted", "given to write(2)", "pages dirtied"], rows)


def verdicts(found: list[Bar]) -> str:
    rows = [[f"{bar.workload}: {bar.what}", text(bar.value), bound_text(bar), bar.verdict] for bar in found]
    return table(["bar", "measured", "limit", ""], rows)


def bound_text(bar: Bar) -> str:
    return f"{'>=' if bar.is_floor else '<='} {bar.limit}"


def intervals_to_follow(row: Row) -> float:
    """From a move of the hot range until nine in ten of its slots are leveled, in heat intervals: the median of the
    moves, of which one that is not followed before the next counts as all of its turn."""
    found: list[float] = []
    for turn in range(1, ROTATIONS):
        begun = turn * row["writes"] / ROTATIONS
        mine = [s for s in row["samples"] if in_turn(s, turn, row["writes"])]
        until = [s["written"] - begun for s in mine if s["leveled_part"] is not None and s["leveled_part"] >= 0.9]
        found.append((until[0] if until else row["writes"] / ROTATIONS) / row["pace"] / FOLLOWED_INTERVAL_SECS)
    return median(found)


def follow_text(results: Results) -> str:
    """How soon after each move of the hot range its probes are what they were at the end of the turn before."""
    lines = []
    for row in results.rows:
        if row["workload"] != "rotating":
            continue
        parts = [[s["hot"] for s in row["samples"] if in_turn(s, turn, row["writes"])] for turn in range(ROTATIONS)]
        shown = ", ".join(f"{part[0]:.2f} to {part[-1]:.2f}" for part in parts if part)
        if row["samples"][0].get("leveled_part") is not None:
            shown += f"; nine in ten of its slots leveled after {intervals_to_follow(row):.1f} heat intervals"
        lines.append(f"- {row['engine']}: {shown}")
    return "Probes of the hot range, first and last sample after each move:\n\n" + "\n".join(lines) if lines else ""


def in_turn(sample: dict[str, Any], turn: int, writes: int) -> bool:
    return int(sample["written"] - 1) * ROTATIONS // writes == turn


def heading(settings: dict[str, Any], machine: dict[str, Any]) -> str:
    return (
        f"{settings['count']:,} keys of 16 bytes, values of 100, {settings['rounds']:g} times as many writes at "
        f"{settings['pace']:,} a second; memtable "
        f"{settings['memtable_bytes'] / MIB:g} MiB, level 1 {settings['level1_bytes'] / MIB:g} MiB, cache "
        f"{settings['cache_bytes'] / MIB:.0f} MiB; {settings['repeat']} round(s). {machine['processor']}, "
        f"{machine['cores']} cores, load {machine['load']:.1f} at the start, {machine['date']}."
    )


def markdown(results: Results) -> str:
    settings, machine = results.settings, results.machine
    parts = [heading(settings, machine)]
    for workload in dict.fromkeys(row["workload"] for row in results.rows):
        parts.append(measures(results, workload, "paced", COLUMNS))
        parts.append(measures(results, workload, "full speed", FULL_SPEED))
        parts += [latencies(results, workload), ratios(results, workload), shapes(results, workload)]
    parts += [follow_text(results), system_check(results), verdicts([*own_bars(results), *bars(results, ADAPTIVE)])]
    if results.failures:
        parts.append("Failed:\n\n" + "\n".join(failure_text(row) for row in results.failures))
    return "\n\n".join(part for part in parts if part) + "\n"
