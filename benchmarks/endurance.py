"""python -m benchmarks.endurance: mixed load for an hour; whether it decays, pauses or grows."""

import argparse
import gc
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from . import data
from .__main__ import RESULTS, positive
from .engines import ENGINES
from .measure import disk_bytes, status_bytes
from .report import table
from .runner import machine

PAUSE_MILLIS = 100
MIB = 1 << 20
SCAN_PAIRS = 20
# Of a thousand operations; gets are the rest.
PUTS, DELETES, SCANS = 300, 50, 50
STEPS = 1 << 23
DICE = 1_000_003  # No divisor of that.
SPAN_SECS = 10
NAP_SECS = 0.002


@dataclass
class Span:
    """What was seen in a stretch of time."""

    seconds: float
    operations: int = 0
    longest_millis: float = 0.0
    pauses: int = 0  # Operations of more than PAUSE_MILLIS.
    machine_millis: float = 0.0  # The longest that a process which only naps was kept from going on.
    resident_bytes: int = 0
    disk_bytes: int = 0


def steps(count: int, seed: int) -> Iterator[tuple[bytes, int]]:
    """Keys, half of them by Zipf, with a number below a thousand that says what to do. Drawn once, and gone through again
    and again, with other numbers each time: to draw on would take longer than the load does."""
    names = data.keys(range(count))
    uniform, skewed = data.drawn(count, STEPS // 2, seed + 1), data.zipf(count, STEPS // 2, seed + 2)
    keys = [names[number] for pair in zip(uniform, skewed, strict=True) for number in pair]
    dice = data.drawn(1000, DICE, seed + 3)
    return zip(chain.from_iterable(repeat(keys)), chain.from_iterable(repeat(dice)), strict=False)


def nap(longest_millis: Any) -> None:
    """What is late here is late for the engine, too, whatever it does."""
    while True:
        before = time.perf_counter()
        time.sleep(NAP_SECS)
        longest_millis.value = max(longest_millis.value, 1e3 * (time.perf_counter() - before - NAP_SECS))


def endure(engine_name: str, path: Path, count: int, minutes: float, seed: int) -> list[Span]:
    """A span of ten seconds after another."""
    value = next(data.values(1, 100, seed=seed))
    source = steps(count, seed)
    engine = ENGINES[engine_name](str(path))
    engine.fill(data.keys(data.shuffled(count, seed)), (value for _ in range(count)))
    get, put, scan = engine.operations()
    delete = engine.delete
    spans: list[Span] = []
    context = multiprocessing.get_context("spawn")
    napped_millis = context.Value("d", 0.0)
    context.Process(target=nap, args=(napped_millis,), daemon=True).start()
    now = time.perf_counter
    gc.disable()
    span, begun = Span(0.0), now()
    end = begun + 60 * minutes
    for key, drawn in source:
        before = now()
        if drawn < PUTS:
            put(key, value)
        elif drawn < PUTS + DELETES:
            delete([key])
        elif drawn < PUTS + DELETES + SCANS:
            scan(key, SCAN_PAIRS)
        else:
            get(key)
        after = now()
        millis = 1e3 * (after - before)
        span.operations += 1
        span.longest_millis = max(span.longest_millis, millis)
        span.pauses += millis > PAUSE_MILLIS
        if after - begun >= SPAN_SECS:
            span.seconds = after - begun
            span.machine_millis, napped_millis.value = napped_millis.value, 0.0
            span.resident_bytes = status_bytes("VmRSS").get("VmRSS", 0)
            span.disk_bytes = disk_bytes(path)
            spans.append(span)
            if after >= end:
                break
            span, begun = Span(0.0), now()
    engine.close()
    return spans


def rows(spans: list[Span]) -> list[list[str]]:
    """A row for each sixth of the time."""
    each = max(len(spans) // 6, 1)
    found = []
    for first in range(0, len(spans), each):
        part = spans[first : first + each]
        seconds = sum(span.seconds for span in part)
        found.append(
            [
                f"{first * SPAN_SECS / 60:.1f} to {(first + len(part)) * SPAN_SECS / 60:.1f}",
                f"{sum(span.operations for span in part) / seconds / 1e3:.0f}",
                f"{max(span.longest_millis for span in part):.1f}",
                str(sum(span.pauses for span in part)),
                f"{max(span.machine_millis for span in part):.1f}",
                f"{max(span.resident_bytes for span in part) / MIB:.0f}",
                f"{max(span.disk_bytes for span in part) / MIB:.0f}",
            ]
        )
    return found


def markdown(spans: list[Span], settings: dict[str, Any]) -> str:
    header = ["minutes", "k operations/s", "longest, ms", f"over {PAUSE_MILLIS} ms", "machine, ms", "resident, MiB", "disk, MiB"]
    about = f"{settings['engine']}, {settings['count']:,} keys of 16 bytes, values of 100, seed {settings['seed']}."
    return f"{about}\n\n{table(header, rows(spans))}\n"


def draw(spans: list[Span], path: Path) -> None:
    """Rate, longest operation, memory and disk over time. Needs matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    minutes = [(at + 1) * SPAN_SECS / 60 for at in range(len(spans))]
    lines = {
        "thousand operations a second": [span.operations / span.seconds / 1e3 for span in spans],
        "ms: longest operation, machine's pause": [span.longest_millis for span in spans],
        "MiB: resident, on disk": [span.resident_bytes / MIB for span in spans],
    }
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, len(lines))
    for axes, (title, values) in zip(panels, lines.items(), strict=True):
        axes.plot(minutes, values, linewidth=1)
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("minutes")
    panels[1].plot(minutes, [span.machine_millis for span in spans], linewidth=1)
    panels[2].plot(minutes, [span.disk_bytes / MIB for span in spans], linewidth=1)
    panels[2].set_ylim(bottom=0)
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of load (default: 60)")
    parser.add_argument("--n", type=positive, default=2_000_000, help="keys (default: 2000000)")
    parser.add_argument("--engine", default="nori", choices=list(ENGINES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, help="where the database is made; on the disk to be measured")
    parser.add_argument("--output", type=Path, default=RESULTS / "endurance.json", help="JSON; a .md and a .svg beside it")
    args = parser.parse_args()
    parent = args.dir or RESULTS
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="db-", dir=parent.resolve()))
    try:
        spans = endure(args.engine, directory / "endurance", args.n, args.minutes, args.seed)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    settings = {"engine": args.engine, "count": args.n, "seed": args.seed, **machine()}
    args.output.write_text(json.dumps({"settings": settings, "spans": [asdict(span) for span in spans]}, indent=1) + "\n")
    text = markdown(spans, settings)
    args.output.with_suffix(".md").write_text(text)
    draw(spans, args.output.with_suffix(".svg"))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
