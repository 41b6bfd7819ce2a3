"""make linear: many threads on a few keys, and whether what they saw can have happened one call after the other.

    python -m tests.campaigns.linear RECORDER --runs 20 --threads 64 --seed 1

RECORDER is the program that linear.c makes: it calls the C core from as many threads as it is told, and writes down each
call with the moments before and after it. Calls on one key are a history of one register (linearizability.py); a read
of a snapshot counts as a read at the moment the snapshot was made, and the recorder ends if one does not answer twice
alike. A batch is a write of each of its keys."""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .linearizability import Call, Undecided, is_linearizable

CALL = struct.Struct("<IIQQQQ")  # key, kind, began, ended, argument, result


def record(recorder: Path, seed: int, threads: int, rounds: int, calls: int, log: str) -> dict[int, list[Call]]:
    """The calls of one run, by key."""
    folder = Path(tempfile.mkdtemp(prefix="nori_linear_"))
    command = [recorder, folder / "db", seed, threads, rounds, calls, log]
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, timeout=600)
    finally:
        shutil.rmtree(folder)
    if done.returncode != 0:
        raise SystemExit(f"the recorder ended with {done.returncode}: {done.stderr.decode()}")
    history: dict[int, list[Call]] = {}
    for key, kind, began, ended, argument, result in CALL.iter_unpack(done.stdout):
        history.setdefault(key, []).append(Call(kind, began, ended, argument, result))
    return history


def overlap(calls: list[Call]) -> int:
    """How many calls were under way at once, at most."""
    moments = sorted([(call.began, 1) for call in calls] + [(call.ended, -1) for call in calls])
    now = most = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def runs(arguments: argparse.Namespace) -> Iterator[tuple[int, str]]:
    for number in range(arguments.runs):
        yield arguments.seed + number, "mapped" if number % 2 else "written"


def main() -> int:
    parser = argparse.ArgumentParser(prog="linear", description=__doc__)
    parser.add_argument("recorder", type=Path)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=40, help="of a thread in a round")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    total = histories = most = undecided = violations = 0
    for seed, log in runs(arguments):
        history = record(arguments.recorder, seed, arguments.threads, arguments.rounds, arguments.calls, log)
        for key, calls in sorted(history.items()):
            histories, total = histories + 1, total + len(calls)
            most = max(most, overlap(calls))
            try:
                if not is_linearizable(calls):
                    violations += 1
                    print(f"seed {seed}, {log} log: the calls on key {key} are not linearizable")
            except Undecided as reason:
                undecided += 1
                print(f"seed {seed}, {log} log, key {key}: undecided: {reason}")
    print(
        f"{arguments.runs} runs of {arguments.threads} threads: {histories} histories, {total} calls, at most {most} of "
        f"a key at once; {violations} violations, {undecided} undecided"
    )
    return 1 if violations or undecided or not total else 0


if __name__ == "__main__":
    sys.exit(main())
