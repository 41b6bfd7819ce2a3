"""make soak: a mixed load killed over and over, by the clock and at chosen system calls, and judged each time.

    python -m tests.campaigns.soak --kills 500 --minutes 60 --seed 1

What a killed process was told is done is there, batches are whole, nothing is invented (P1 to P6). Half of the time the
database is judged read-only, so that the next process has to recover what this one left, too."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nori_lsm

from .arguments import parse
from .judge import Child, Match, State, Violation, judge
from .workload import SMALL, find_checkpoints

WRITERS = 4
# A process that is not killed by its tracer, because it makes no such call so often, is killed after this.
TRACED_SECONDS = 4.0
# Anew from time to time, or the load's first steps would come once only.
KILLS_OF_A_DATABASE = 60
# At the n-th of these, and how large n may be. Each thread counts for itself.
CALLS = {
    "fdatasync": 12,
    "fsync": 8,
    "pwritev": 60,
    "pwrite64": 60,
    "write": 120,
    "openat": 400,
    "rename": 4,
    "renameat": 6,
    "renameat2": 6,
    "unlinkat": 20,
    "linkat": 6,
    "fallocate": 10,
    "ftruncate": 3,
    "mmap": 300,
    "munmap": 40,
    "flock": 2,
    "mkdirat": 4,
    "close": 200,
}


class Soak:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.numbers = random.Random(seed)
        self.has_strace = shutil.which("strace") is not None
        self.kills = self.traced_kills = self.operations = self.checkpoints = self.recoveries = 0
        self.calls: dict[str, int] = {}
        self.databases = 0
        self.begin()

    def begin(self) -> None:
        """A new database."""
        self.databases += 1
        self.load_seed = self.numbers.randrange(1 << 30)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "checkpoints").mkdir(parents=True)
        self.path = self.folder / "db"
        self.states = [State(self.load_seed, writer) for writer in range(WRITERS)]
        self.left = KILLS_OF_A_DATABASE

    def options(self) -> dict[str, Any]:
        choose = self.numbers.choice
        return {
            **SMALL,
            "wal__mapped": choose([True, False]),
            "wal__durability": choose(["sync", "interval", "interval", "os"]),
            "wal__sync_interval_ms": choose([1, 20, 100]),
            "filters__kind": choose(["bloom", "ribbon"]),
            "strategy": choose(["atll", "atll", "leveled", "tiered"]),
            "io__max_background_jobs": choose([1, 2, 4]),
        }

    def tracer(self) -> tuple[str, ...]:
        if not self.has_strace or self.numbers.random() < 0.5:
            return ()
        call = self.numbers.choice(list(CALLS))
        when = self.numbers.randint(1, CALLS[call])
        self.calls[call] = self.calls.get(call, 0) + 1
        kill = f"inject={call}:signal=SIGKILL:when={when}"
        return ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", kill)

    def kill_once(self) -> None:
        firsts = [state.number + 1 for state in self.states]
        tracer = self.tracer()
        child = Child(self.path, self.load_seed, firsts, self.options(), self.folder / "checkpoints", tracer)
        # Also in the middle of the open.
        deadline = time.monotonic() + (TRACED_SECONDS if tracer else self.numbers.uniform(0.1, 1.2))
        while child.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if child.process.poll() is None:
            os.killpg(child.process.pid, signal.SIGKILL)
        elif tracer:
            self.traced_kills += 1
        said = child.finish()
        if child.process.returncode not in (-signal.SIGKILL, 128 + signal.SIGKILL):
            raise Violation(f"a process ended by itself with {child.process.returncode}: {said}")
        self.kills += 1
        self.left -= 1
        self.operations += child.journal.count
        self.judge(child)

    def judge(self, child: Child) -> None:
        read_only = self.numbers.random() < 0.5
        try:
            db = nori_lsm.open(self.path, create=False, read_only=read_only)
        except FileNotFoundError:
            if any(last >= 0 for last in child.journal.last):
                raise
            return  # Killed before there was a database.
        self.recoveries += not read_only
        with db:
            least, most = child.journal.last, [last + 1 for last in child.journal.last]
            held = judge(db, self.states, least, most)
            report = db.verify()
            if not report.ok:
                raise Violation(f"verify: {report.findings}")
        self.judge_checkpoints(most)
        self.states = [match.state for match in held]

    def judge_checkpoints(self, most: list[int]) -> None:
        """Each is whole, and holds what was there while it was made."""
        for path, finished, begun in find_checkpoints(self.folder / "checkpoints"):
            with nori_lsm.open(path, create=False, read_only=True) as db:
                held: list[Match] = judge(db, self.states, finished or [-1] * WRITERS, begun or most)
                assert held
                report = db.verify()
                if not report.ok:
                    raise Violation(f"verify of a checkpoint: {report.findings}")
            self.checkpoints += 1
            shutil.rmtree(path)
            path.with_suffix(".json").unlink(missing_ok=True)

    def report(self) -> str:
        calls = ", ".join(f"{call} {count}" for call, count in sorted(self.calls.items()))
        return (
            f"seed {self.seed}: {self.kills} kills, {self.traced_kills} of them at a system call ({calls}); "
            f"{self.operations} operations acknowledged, {self.databases} databases, {self.recoveries} opened to write, "
            f"{self.checkpoints} checkpoints opened"
        )


def main() -> int:
    arguments = parse("soak", __doc__, "kills", 100, "database")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="nori_soak_"))
    soak = Soak(folder, arguments.seed)
    if not soak.has_strace:
        print("There is no strace here: no kills at system calls, only by the clock")
    deadline = time.monotonic() + 60 * arguments.minutes
    try:
        while soak.kills < arguments.kills and time.monotonic() < deadline:
            if soak.left == 0:
                soak.begin()
            soak.kill_once()
    except (Violation, nori_lsm.Error, OSError) as problem:
        print(f"{soak.report()}\n1 violation: {type(problem).__name__}: {problem}\nThe database is left in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"{soak.report()}\n0 violations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
