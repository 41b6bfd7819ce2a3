"""What the engine would do at sizes that are not at hand: python -m benchmarks.simulate

--validate puts the same small workloads to the engine itself (benchmarks.atll's cells) and to the simulation.
--schedulers has each scheduler follow a hot range that moves, where merging is ample and where it is scarce.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from benchmarks.__main__ import RESULTS, chosen, positive
from benchmarks.atll.cell import run_cell
from benchmarks.atll.spec import FANOUT, HEAT_INTERVAL_SECS, KIB, MIB, Spec
from benchmarks.atll.stores import (
    BACKGROUND_JOBS,
    BLOOM_BITS,
    LEVEL0_ADMITTED,
    LEVEL0_SLOWED,
    LEVEL0_STOPPED,
    MEMTABLES,
)
from benchmarks.atll.workloads import HOT_PART, HOT_SHARE, HOT_START
from nori_lsm import simulate

UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
STRATEGIES = ("leveled", "tiered", "atll")
WORKLOADS = ("write_only", "uniform", "read_hot", "rw_hot")
ENTRY_OVERHEAD = 4 + BLOOM_BITS / 8  # What the simulation adds to the stored bytes of an entry.
TOLERANCE = 0.15
CALLER_WEIGHT = 60  # How much a caller's time counts when K is chosen: csrc/engine/shape.c.
SCHEDULERS = ("bandit", "contextual", "greedy", "round_robin")
MERGING = ((2, 60), (1, 40), (1, 25))  # Jobs at a time, MiB a second that each merges.
LEVEL1_BYTES, L1_SLOTS = 2 * MIB, 8
MOVING_PARTS, MOVING_SECS, MOVING_INTERVAL_SECS = 20, 2.0, 0.5


def ranges_of(workload: str) -> tuple[simulate.Range, ...] | None:
    if workload == "read_hot":
        return simulate.hot_range(HOT_PART, HOT_SHARE, at=HOT_START)
    if workload == "rw_hot":
        return simulate.hot_range(HOT_PART, HOT_SHARE, 0.5 + 0.5 * HOT_PART, at=HOT_START)
    return None


def simulated(spec: Spec, cell: dict[str, Any]) -> simulate.Report:
    """The cell's workload. What an entry takes in tables is the cell's."""
    stored_share = (cell["bytes_per_entry"] - ENTRY_OVERHEAD) / spec.entry_bytes
    costs = cell["shape"][0]
    workload = simulate.Workload(
        probe_ns=CALLER_WEIGHT * max(costs.get("get_micros", 2) * 1000 / (costs["probes_per_get"] + 5), 20),
        rewrite_ns=5,
        keys=spec.count,
        key_bytes=16,
        value_bytes=spec.value_bytes,
        stored_share=stored_share,
        ranges=ranges_of(spec.workload),
        write_bytes=spec.writes * spec.entry_bytes,
        write_bytes_per_sec=spec.pace * spec.entry_bytes,
        reads_per_sec=0 if spec.workload == "write_only" else spec.pace,
        memtable_entries=spec.memtable_entries,
        load_bytes_per_sec=spec.count * spec.entry_bytes / max(cell["load"]["seconds"], 0.1),
        merge_bytes_per_sec=100 * MIB,
        wait_at_depth=LEVEL0_ADMITTED,
        seed=spec.seed,
    )
    return simulate.run(workload, strategy=spec.engine, **small_options(cell["trigger_bytes"]))


def small_options(trigger_bytes: int) -> dict[str, Any]:
    """Of benchmarks.atll's stores."""
    return {
        "fanout": FANOUT,
        "level1_bytes": LEVEL1_BYTES,
        "table_bytes": LEVEL1_BYTES // L1_SLOTS,
        "l1_slot_count": L1_SLOTS,
        "heat_decay_interval_secs": HEAT_INTERVAL_SECS,
        "memtable__flush_trigger_bytes": trigger_bytes,
        "memtable__wal_age_trigger_sec": 0,
        "l0__max_files": LEVEL0_STOPPED,
        "l0__soft_throttle_threshold": LEVEL0_SLOWED,
        "filters__bloom_bits_per_key": BLOOM_BITS,
        "resources__memtables_mib": max(-(-MEMTABLES * trigger_bytes // MIB), 1),
        "io__max_background_jobs": BACKGROUND_JOBS,
    }


def validate(args: argparse.Namespace) -> int:
    failures = 0
    print("| store | workload | written | simulated | | load | simulated | space mean | simulated | probes | simulated |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    parent = args.dir or RESULTS
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="simulate-", dir=parent.resolve()) as directory:
        for name in chosen(args.workloads, list(WORKLOADS)):
            for engine in chosen(args.engines, list(STRATEGIES)):
                spec = Spec(
                    engine,
                    name,
                    args.n,
                    args.rounds,
                    args.pace,
                    args.seed,
                    f"{directory}/{engine}-{name}",
                    512 * KIB,
                    LEVEL1_BYTES,
                    max(args.n * 29, MIB),
                )
                cell = run_cell(spec)
                report = simulated(spec, cell)
                off = report.write_amp / cell["write_amp"] - 1
                failures += abs(off) > TOLERANCE
                hot_share = HOT_SHARE if name in ("read_hot", "rw_hot") else 1.0
                probes = hot_share * cell["probes"]["hot"] + (1 - hot_share) * cell["probes"]["cold"]
                print(
                    f"| {engine} | {name} | {cell['write_amp']:.2f} | {report.write_amp:.2f} | {off:+.0%} "
                    f"| {cell['load']['write_amp']:.2f} | {report.load_write_amp:.2f} "
                    f"| {cell['space']['mean']:.2f} | {report.space_amp:.2f} "
                    f"| {probes:.2f} | {report.read_amp:.2f} |",
                    flush=True,
                )
                if args.verbose:
                    for row in cell["shape"]:
                        print("   ", row)
                    print(report)
    return 1 if failures else 0


def follow(scheduler: str, jobs: int, merge_mib: int, keys: int, seed: int) -> simulate.Report:
    """90 % of the reads lie in a twentieth of the keys, which moves on every four heat intervals."""
    part = 1 / MOVING_PARTS
    hot = [HOT_SHARE if i == MOVING_PARTS // 3 else (1 - HOT_SHARE) / (MOVING_PARTS - 1) for i in range(MOVING_PARTS)]
    workload = simulate.Workload(
        keys=keys,
        stored_share=0.52,
        ranges=tuple(simulate.Range(part, part, reads) for reads in hot),
        write_bytes=keys * 116,
        write_bytes_per_sec=60_000 * 116,
        reads_per_sec=60_000,
        rotate_secs=MOVING_SECS,
        memtable_entries=3510,
        load_bytes_per_sec=60 * MIB,
        merge_bytes_per_sec=merge_mib * MIB,
        probe_ns=4000,
        wait_at_depth=LEVEL0_ADMITTED,
        seed=seed,
    )
    options = small_options(MIB) | {
        "heat_decay_interval_secs": MOVING_INTERVAL_SECS,
        "io__max_background_jobs": jobs,
        "scheduler": scheduler,
    }
    return simulate.run(workload, strategy="atll", **options)


def compare_schedulers(args: argparse.Namespace) -> int:
    def spread(values: list[float]) -> str:
        return f"{mean(values):.2f} ± {pstdev(values):.2f}"

    print("| jobs x MiB/s | scheduler | written | probes | waited |")
    print("| --- | --- | ---: | ---: | ---: |")
    for jobs, merge_mib in MERGING:
        for scheduler in SCHEDULERS:
            reports = [follow(scheduler, jobs, merge_mib, args.n, args.seed + i) for i in range(args.seeds)]
            written, probes = spread([r.write_amp for r in reports]), spread([r.read_amp for r in reports])
            waited = mean(r.waited_share for r in reports)
            print(f"| {jobs} x {merge_mib} | {scheduler} | {written} | {probes} | {waited:.2f} |", flush=True)
    return 0


def size_of(text: str) -> int:
    for unit, factor in UNITS.items():
        if text.upper().endswith(unit):
            return int(float(text[: -len(unit)]) * factor)
    raise argparse.ArgumentTypeError(f"{text!r} is no size such as 100GB")


def report_sizes(args: argparse.Namespace) -> int:
    for total in args.sizes:
        for engine in chosen(args.engines, list(STRATEGIES)):
            workload = simulate.Workload.of_bytes(
                total,
                stored_share=args.stored_share,
                ranges=ranges_of(args.traffic),
                write_bytes=int(total * args.rounds),
                warm_up_bytes=int(total * args.rounds / 3),
                write_bytes_per_sec=args.rate * MIB,
                reads_per_sec=args.reads,
                start="placed",
                seed=args.seed,
            )
            report = simulate.run(workload, strategy=engine, io__max_background_jobs=args.jobs)
            print(f"{total / 1e9:,.0f} GB, {engine}, {args.traffic}, {workload.write_bytes / 1e9:,.0f} GB written")
            print(report)
            print(
                f"{report.plans:,} plans of {report.planning_seconds / max(report.plans, 1) * 1e3:.2f} ms, "
                f"{report.edits:,} edits of {report.installing_seconds / max(report.edits, 1) * 1e3:.2f} ms\n",
                flush=True,
            )
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description="the planner at any size")
    parser.add_argument("--validate", action="store_true", help="the engine beside its simulation, at a small size")
    parser.add_argument("--schedulers", action="store_true", help="each of them after a hot range that moves")
    parser.add_argument("--sizes", type=size_of, nargs="+", default=[10**11, 10**12, 10**13], help="such as 100GB 1TB")
    parser.add_argument("--rounds", type=float, help="writes in multiples of the data (3 with --validate, else 0.1)")
    parser.add_argument("--traffic", choices=WORKLOADS, default="read_hot", help="of --sizes (read_hot)")
    parser.add_argument("--rate", type=float, default=32, help="MiB written a second, of --sizes (32)")
    parser.add_argument("--reads", type=float, default=100_000, help="a second, of --sizes (100,000)")
    parser.add_argument("--jobs", type=positive, default=4, help="background jobs, of --sizes (4)")
    parser.add_argument("--stored-share", type=float, default=0.7, help="what compression leaves, of --sizes (0.7)")
    parser.add_argument("--n", type=positive, help="keys of --validate (200,000), of --schedulers (1,000,000)")
    parser.add_argument("--seeds", type=positive, default=12, help="of --schedulers (12)")
    parser.add_argument("--pace", type=positive, default=40_000, help="writes a second of --validate (40,000)")
    parser.add_argument("--engines", help=f"comma-separated, of {', '.join(STRATEGIES)}")
    parser.add_argument("--workloads", help=f"of --validate, comma-separated, of {', '.join(WORKLOADS)}")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--dir", type=Path, help="where databases are made")
    parser.add_argument("--verbose", action="store_true", help="also the shapes of the trees")
    return parser


def main() -> int:
    args = parser().parse_args()
    if args.rounds is None:
        args.rounds = 3.0 if args.validate else 0.1
    args.n = args.n or (1_000_000 if args.schedulers else 200_000)
    if args.schedulers:
        return compare_schedulers(args)
    return validate(args) if args.validate else report_sizes(args)


if __name__ == "__main__":
    sys.exit(main())
