"""python -m benchmarks: see README.md beside this file."""

import argparse
import sys
import tempfile
from pathlib import Path

from .engines import ENGINES
from .picture import draw
from .report import markdown
from .runner import Results, run
from .workloads import QUICK, WORKLOADS

RESULTS = Path(__file__).resolve().parent / "results"


def chosen(text: str | None, known: list[str], usual: list[str] | None = None) -> list[str]:
    names = text.split(",") if text else usual or known
    for name in names:
        if name not in known:
            raise SystemExit(f"benchmarks: {name} is not one of {', '.join(known)}")
    return names


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="nori_lsm beside its peers")
    parser.add_argument("--quick", action="store_true", help="one round of 100000 keys, without what takes long")
    parser.add_argument("--n", type=positive, help="keys (default: 1000000)")
    parser.add_argument("--value-bytes", type=positive, default=100, help="bytes of a value (default: 100)")
    parser.add_argument("--cache-mib", type=positive, help="block cache (default: each engine's, tuned ones 512)")
    parser.add_argument("--repeat", type=positive, help="rounds (default: 5); tables show medians and the spread")
    parser.add_argument("--engines", help=f"comma-separated, of {', '.join(ENGINES)}")
    parser.add_argument("--workloads", help=f"comma-separated, of {', '.join(WORKLOADS)}")
    parser.add_argument("--dir", type=Path, help="where databases are made; on the disk to be measured")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json", help="JSON; a .md and, with matplotlib, a .svg beside it")
    parser.add_argument("--report", type=Path, metavar="JSON", help="show an earlier run, measure nothing")
    return parser


def main() -> int:
    args = parser().parse_args()
    if args.report:
        print(markdown(Results.load(args.report)))
        return 0
    parent = args.dir or RESULTS
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="db-", dir=parent.resolve()) as directory:
        results = run(
            chosen(args.engines, list(ENGINES)),
            chosen(args.workloads, WORKLOADS, QUICK if args.quick else None),
            count=args.n or (100_000 if args.quick else 1_000_000),
            value_bytes=args.value_bytes,
            rounds=args.repeat or (1 if args.quick else 5),
            directory=Path(directory),
            cache_mib=args.cache_mib,
        )
    results.save(args.output)
    text = markdown(results)
    args.output.with_suffix(".md").write_text(text)
    draw(results, args.output.with_suffix(".svg"))
    print(text)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
