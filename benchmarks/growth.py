"""python -m benchmarks.growth: what operations cost as the database grows, beside peers."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from .__main__ import RESULTS, chosen, positive
from .engines import ENGINES
from .report import rate, rate_text, table
from .runner import Results, run

WORKLOADS = ["fillrandom", "readrandom", "scan100"]
SIZES = "1000000,5000000,20000000"
USUAL = ["nori", "rocksdict-tuned", "plyvel-tuned", "lmdb"]


def micros(results: Results, engine: str, workload: str) -> float | None:
    """Microseconds an operation; the median of the rounds."""
    value = rate(results, engine, workload)
    return None if value is None else 1e6 / value


def markdown(grown: list[Results]) -> str:
    """A table for each workload: thousand operations a second by size, and what of the first size's rate is left."""
    sizes = [results.settings["count"] for results in grown]
    parts = []
    for workload in WORKLOADS:
        rows = []
        for engine in grown[0].versions:
            rates = [rate(results, engine, workload) for results in grown]
            first, last = rates[0], rates[-1]
            kept = f"{last / first:.2f}" if first and last else "-"
            rows.append([engine, *(rate_text(value) for value in rates), kept])
        parts.append(table([f"{workload}, k/s", *(f"{size:,} keys" for size in sizes), "last of first"], rows))
    failed = [f"- {row['engine']}, {row['stage']}: {row['error']}" for results in grown for row in results.failures]
    if failed:
        parts.append("Failed:\n\n" + "\n".join(failed))
    return "\n\n".join(parts) + "\n"


def draw(grown: list[Results], path: Path) -> None:
    """A line for each engine: microseconds an operation over keys, both axes logarithmic. Needs matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    panels = figure.subplots(1, len(WORKLOADS))
    for axes, workload in zip(panels, WORKLOADS, strict=True):
        for engine in grown[0].versions:
            points = [(results.settings["count"], micros(results, engine, workload)) for results in grown]
            known = [(count, value) for count, value in points if value is not None]
            if known:
                axes.plot(*zip(*known, strict=True), "o-", label=engine, linewidth=2 if engine == "nori" else 1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(workload, fontsize="medium")
        axes.set_xlabel("keys")
    panels[0].set_ylabel("microseconds an operation")
    panels[0].legend(frameon=False, fontsize="small")
    figure.savefig(path)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--sizes", default=SIZES, help=f"keys, comma-separated (default: {SIZES})")
    parser.add_argument("--value-bytes", type=positive, default=100, help="bytes of a value (default: 100)")
    parser.add_argument("--cache-mib", type=positive, help="block cache (default: each engine's, tuned ones 512)")
    parser.add_argument("--repeat", type=positive, default=1, help="rounds of each size (default: 1)")
    parser.add_argument("--engines", help=f"comma-separated, of {', '.join(ENGINES)} (default: {','.join(USUAL)})")
    parser.add_argument("--dir", type=Path, help="where databases are made; on the disk to be measured")
    parser.add_argument("--output", type=Path, default=RESULTS / "growth.json", help="JSON; a .md and a .svg beside it")
    return parser


def main() -> int:
    args = parser().parse_args()
    sizes = sorted(positive(text) for text in args.sizes.split(","))
    engines = chosen(args.engines, list(ENGINES), USUAL)
    parent = args.dir or RESULTS
    parent.mkdir(parents=True, exist_ok=True)
    grown = []
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="db-", dir=parent.resolve()) as directory:
            grown.append(
                run(
                    engines,
                    WORKLOADS,
                    count=count,
                    value_bytes=args.value_bytes,
                    rounds=args.repeat,
                    directory=Path(directory),
                    cache_mib=args.cache_mib,
                )
            )
    args.output.write_text(json.dumps([asdict(results) for results in grown], indent=1) + "\n")
    text = markdown(grown)
    args.output.with_suffix(".md").write_text(text)
    draw(grown, args.output.with_suffix(".svg"))
    print(text)
    return 1 if any(results.failures for results in grown) else 0


if __name__ == "__main__":
    sys.exit(main())
