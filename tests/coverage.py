"""Which lines and branches of the C core its C tests run, file by file, from what gcov counted.

make coverage [ARGS="--missing compact/merge.c"]

A branch is one way out of a condition: `a && b` has four, each NR_CHECK two. Inline functions of headers count once,
wherever they were compiled. Assertions are compiled out: their failure is no way to be taken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST_LINES, LEAST_BRANCHES = 95.0, 85.0


@dataclass
class Counts:
    lines: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    branches: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))

    @property
    def lines_run(self) -> int:
        return sum(count > 0 for count in self.lines.values())

    @property
    def branches_taken(self) -> int:
        return sum(count > 0 for count in self.branches.values())


def ask_gcov(data: Path) -> dict[str, object]:
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", str(data)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True, cwd=ROOT).stdout)


def add(files: dict[str, Counts], report: dict[str, object]) -> None:
    for file in report["files"]:
        path = Path(file["file"])
        path = path if path.is_absolute() else Path(report["current_working_directory"]) / path
        if not path.is_relative_to(ROOT / "csrc"):
            continue
        counts = files.setdefault(str(path.relative_to(ROOT / "csrc")), Counts())
        for line in file["lines"]:
            number = line["line_number"]
            counts.lines[number] += line["count"]
            for index, branch in enumerate(line["branches"]):
                counts.branches[number, index] += branch["count"]


def percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0


def print_file(name: str, all_counts: Iterable[Counts]) -> tuple[float, float]:
    counts = list(all_counts)
    lines, branches = sum(len(each.lines) for each in counts), sum(len(each.branches) for each in counts)
    run, taken = sum(each.lines_run for each in counts), sum(each.branches_taken for each in counts)
    shares = percent(run, lines), percent(taken, branches)
    print(f"{name:32} {run:6} of {lines:6} lines {shares[0]:6.1f} %   {taken:6} of {branches:6} branches {shares[1]:6.1f} %")
    return shares


def print_missing(path: str, counts: Counts) -> None:
    text = (ROOT / "csrc" / path).read_text().splitlines()
    partly = {number for (number, _), count in counts.branches.items() if count == 0}
    for number in sorted(counts.lines):
        if counts.lines[number] == 0:
            print(f"{path}:{number}: never run: {text[number - 1].strip()}")
        elif number in partly:
            taken = "".join("+-"[count == 0] for (line, _), count in sorted(counts.branches.items()) if line == number)
            print(f"{path}:{number}: {taken}: {text[number - 1].strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path, help="what the C tests were built into with MODE=coverage, and have run in")
    parser.add_argument("--missing", default=None, metavar="PATH", help="show what is not covered in files like this")
    arguments = parser.parse_args()
    files: dict[str, Counts] = {}
    for data in sorted((arguments.build / "csrc").rglob("*.gcda")):
        add(files, ask_gcov(data))
    if not files:
        raise SystemExit("nothing was counted: build with MODE=coverage and run the tests first")
    if arguments.missing is not None:
        for path in sorted(path for path in files if arguments.missing in path):
            print_missing(path, files[path])
        return 0
    for path in sorted(files):
        print_file(path, [files[path]])
    print()
    for layer in sorted({path.split("/")[0] for path in files}):
        print_file(layer, [counts for path, counts in files.items() if path.startswith(f"{layer}/")])
    lines, branches = print_file("all", files.values())
    return 0 if lines >= LEAST_LINES and branches >= LEAST_BRANCHES else 1


if __name__ == "__main__":
    sys.exit(main())
