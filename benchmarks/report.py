"""Tables from results: rates, and the ratio of nori_lsm to the best peer."""

from statistics import median
from typing import Any

from .engines import NOT_PEERS
from .runner import Results
from .workloads import WORKLOADS

MIB = 1 << 20
# How many times the best peer's rate each workload aims at.
AIMS = {
    "fillseq": 3.0,
    "fillrandom": 3.0,
    "fillbatch": 3.0,
    "bulkload": 2.0,
    "overwrite": 2.5,
    "updatezipf": 2.5,
    "deleterandom": 2.5,
    "readmem": 1.5,
    "readrandom": 1.3,
    "readmissing": 2.0,
    "get_many100": 2.0,
    "readseq": 2.0,
    "readrev": 2.0,
    "scan100": 1.5,
    "scan100rev": 1.5,
    **{f"ycsb_{mix}": 1.5 for mix in "abcdef"},
    "fillsync16": 1.5,
}
# Times of one call, not rates.
OPENS = ("open", "open_crashed")


def by_round(results: Results, engine: str, workload: str, measure: str = "seconds") -> dict[int, float]:
    """Operations a second in each round."""
    return {
        row["round"]: row["operations"] / max(row[measure], 1e-9)
        for row in results.rows
        if row["engine"] == engine and row["workload"] == workload
    }


def rate(results: Results, engine: str, workload: str, measure: str = "seconds") -> float | None:
    rounds = by_round(results, engine, workload, measure)
    return median(rounds.values()) if rounds else None


def best_peer(results: Results, workload: str, measure: str = "seconds") -> str | None:
    rates = {name: rate(results, name, workload, measure) for name in results.versions if name not in NOT_PEERS}
    known = {name: value for name, value in rates.items() if value is not None}
    return max(known, key=lambda name: known[name]) if known else None


def ratio_text(results: Results, engine: str, peer: str | None, workload: str, measure: str = "seconds") -> str:
    """The median of the rounds' ratios, and the least and the greatest where there are several."""
    if peer is None:
        return "-"
    ours, theirs = (by_round(results, name, workload, measure) for name in (engine, peer))
    ratios = [ours[turn] / theirs[turn] for turn in ours if turn in theirs]
    if not ratios:
        return "-"
    text = f"{median(ratios):.2f} x"
    return text if len(ratios) == 1 else f"{text} ({min(ratios):.2f} to {max(ratios):.2f})"


def rate_text(value: float | None) -> str:
    if value is None:
        return "-"
    thousands = value / 1e3
    return f"{thousands:,.0f}" if thousands >= 100 else f"{thousands:.1f}"


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ratios(results: Results, timed_names: list[str]) -> str:
    rows = []
    for workload in timed_names:
        peer = best_peer(results, workload)
        by_processor = best_peer(results, workload, "thread_seconds")
        rows.append(
            [
                workload,
                f"{AIMS[workload]:.1f}" if workload in AIMS else "-",
                ratio_text(results, "nori", peer, workload),
                ratio_text(results, "nori-written", peer, workload),
                f"{peer} {rate_text(rate(results, peer, workload))}" if peer else "-",
                ratio_text(results, "nori", by_processor, workload, "thread_seconds"),
            ]
        )
    header = ["workload", "aim", "nori / best peer", "written log / best peer", "best peer, k/s", "by processor time"]
    return table(header, rows)


def rates(results: Results, timed_names: list[str]) -> str:
    names = list(results.versions)
    rows = [[workload, *(rate_text(rate(results, name, workload)) for name in names)] for workload in timed_names]
    return table(["thousand operations a second", *names], rows)


def micros(results: Results) -> str:
    """What a single call takes: puts timed one by one, and opens."""
    rows = []
    for name in results.versions:
        timed = [row["latency_micros"] for row in results.rows if row["engine"] == name and row.get("latency_micros")]
        puts = [f"{median(each[share] for each in timed):,.1f}" for share in timed[0]] if timed else ["-"] * 4
        opens = [rate(results, name, workload) for workload in OPENS]
        rows.append([name, *puts, *(f"{1e6 / value:,.0f}" if value else "-" for value in opens)])
    return table(
        ["microseconds", "put p50", "p99", "p99.9", "most", "open, first read", "the same after a kill"], rows
    )


def memory(results: Results) -> str:
    """The memory workload, then what each engine grew by in the others."""
    rows = []
    for name in results.versions:
        measured = [row for row in results.rows if row["engine"] == name]
        small = [row for row in measured if row["workload"] == "memory"]
        grown = [row["peak_bytes"] for row in measured if row["workload"] != "memory"]
        rows.append([name, *small_memory(small), f"{max(grown) / MIB:.0f}" if grown else "-"])
    header = ["MiB", "budgets", "grown, anonymous", "with mapped files", "most in other workloads"]
    return table(header, rows)


def small_memory(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["-", "-", "-"]
    return [
        f"{max(row[name] for row in rows) / MIB:.0f}" for name in ("budget_bytes", "anonymous_bytes", "resident_bytes")
    ]


def amplification(results: Results) -> str:
    """What overwriting all of it wrote and takes, medians of the rounds."""
    rows = []
    for name in results.versions:
        churned = [row for row in results.rows if row["engine"] == name and row["workload"] == "churn"]
        if churned:
            written = median(row["written_bytes"] / row["user_bytes"] for row in churned)
            space = median(row["space_bytes"] / row["raw_bytes"] for row in churned)
            rows.append([name, f"{written:.2f}", f"{space:.2f}"])
    header = ["churn", "written, of keys and values", "space, of what is there"]
    return table(header, rows)


def markdown(results: Results) -> str:
    settings, machine = results.settings, results.machine
    present = {row["workload"] for row in results.rows}
    timed_names = [name for name in WORKLOADS if name in present and name not in ("memory", "latency", *OPENS)]
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items() if version != "-")
    parts = [
        f"{settings['count']:,} keys of 16 bytes, "
        f"values of {settings['value_bytes']} bytes, {settings['rounds']} round(s). "
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, "
        f"load {machine['load']:.1f} at the start, {machine['date']}. {versions}.",
        ratios(results, timed_names),
        rates(results, timed_names),
        micros(results),
        memory(results),
    ]
    if "churn" in present:
        parts.append(amplification(results))
    if results.failures:
        parts.append("Failed:\n\n" + "\n".join(failure_text(row) for row in results.failures))
    return "\n\n".join(parts) + "\n"


def failure_text(row: dict[str, Any]) -> str:
    return f"- {row['engine']}, {row['stage']}, round {row['round'] + 1}: {row['error']}"
