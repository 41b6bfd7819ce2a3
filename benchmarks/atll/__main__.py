"""python -m benchmarks.atll: see README.md above this folder."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.__main__ import RESULTS, chosen, positive
from benchmarks.runner import Results

from .report import markdown
from .runner import run
from .spec import KIB, MIB, Spec
from .stores import STORES
from .workloads import WORKLOADS

# Keys, memtable and level 1 of each size.
SIZES = {
    "default": (2_000_000, 512 * KIB, 2 * MIB),
    "full": (16_000_000, 4 * MIB, 16 * MIB),
    "quick": (60_000, 128 * KIB, 256 * KIB),
}
QUICK_ENGINES, QUICK_WORKLOADS = "atll,leveled", "read_hot,write_only,uniform"
CACHE_PART = 0.25  # Of the data: a database that is larger than memory.


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.atll", description="ATLL beside leveled and tiered")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--full", dest="size", action="store_const", const="full", help="4 MiB and 16 MiB; hours")
    sizes.add_argument("--quick", dest="size", action="store_const", const="quick", help="a minute or two, two engines")
    parser.add_argument("--n", type=positive, help="keys")
    parser.add_argument("--memtable-kib", type=positive)
    parser.add_argument("--level1-kib", type=positive)
    parser.add_argument("--rounds", type=float, default=1.0, help="paced writes, in multiples of the keys (1)")
    parser.add_argument("--pace", type=int, default=60_000, help="writes a second of the paced phase; 0: full speed")
    parser.add_argument("--repeat", type=positive, default=1, help="tables show medians")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--engines", help=f"comma-separated, of {', '.join(STORES)}")
    parser.add_argument("--workloads", help=f"comma-separated, of {', '.join(WORKLOADS)}")
    parser.add_argument("--equal-budgets", action="store_true", help="memtables of equal memory, not of equal content")
    parser.add_argument("--written-log", action="store_true", help="our log through write(2), as the others' is")
    parser.add_argument("--dir", type=Path, help="where databases are made; on the disk to be measured")
    parser.add_argument("--output", type=Path, default=RESULTS / "atll.json", help="JSON; a .md is written beside it")
    parser.add_argument("--report", type=Path, metavar="JSON", help="show an earlier run, measure nothing")
    parser.set_defaults(size="default")
    return parser


def main() -> int:
    args = parser().parse_args()
    if args.report:
        print(markdown(Results.load(args.report)))
        return 0
    is_quick = args.size == "quick"
    count, memtable_bytes, level1_bytes = SIZES[args.size]
    count = args.n or count
    memtable_bytes = args.memtable_kib * KIB if args.memtable_kib else memtable_bytes
    level1_bytes = args.level1_kib * KIB if args.level1_kib else level1_bytes
    cache_bytes = max(int(count * 116 * CACHE_PART), MIB)
    parent = args.dir or RESULTS
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="atll-", dir=parent.resolve()) as directory:

        def spec_of(engine: str, workload: str, turn: int) -> Spec:
            return Spec(
                engine,
                workload,
                count,
                args.rounds,
                args.pace,
                args.seed + 100 * turn,
                f"{directory}/{engine}-{workload}",
                memtable_bytes,
                level1_bytes,
                cache_bytes,
                equal_budgets=args.equal_budgets,
                written_log=args.written_log,
            )

        results = run(
            chosen(args.engines or (QUICK_ENGINES if is_quick else None), list(STORES)),
            chosen(args.workloads or (QUICK_WORKLOADS if is_quick else None), list(WORKLOADS)),
            args.repeat,
            {
                "count": count,
                "rounds": args.rounds,
                "pace": args.pace,
                "repeat": args.repeat,
                "seed": args.seed,
                "memtable_bytes": memtable_bytes,
                "level1_bytes": level1_bytes,
                "cache_bytes": cache_bytes,
            },
            spec_of,
            lambda partial: partial.save(args.output),
        )
    results.save(args.output)
    text = markdown(results)
    args.output.with_suffix(".md").write_text(text)
    print(text)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
