"""make powercut: the mixed load on an ext4 file system that is shut down under it, as by a loss of power, and judged.

    python -m tests.campaigns.powercut --cuts 200 --minutes 60 --seed 1

The file system lies in a file, mounted through a loop device. EXT4_IOC_SHUTDOWN stops it at once: what was not synced
is in part on the disk, as the kernel happened to write it, and gone for the rest. It is unmounted, mounted anew, which
replays its journal, and what was acknowledged as durable must be there (P1), as a prefix of what was written (P2).
Needs root, loop devices, ext4. Without them it says so, and proves nothing."""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nori_lsm

from .arguments import parse
from .judge import Child, Journal, Match, State, Violation, judge, judge_order
from .workload import SMALL

WRITERS = 3
IMAGE_BYTES = 384 << 20
EXT4_IOC_SHUTDOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125  # _IOR('X', 125, __u32)
LOGFLUSH, NOLOGFLUSH = 1, 2  # Its journal is written first, or not even that.
TOOLS = ("mkfs.ext4", "mount", "umount", "e2fsck")
CUTS_OF_A_FILE_SYSTEM = 25


class Lacking(Exception):
    """What a cut needs and this machine does not have."""


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Lacking(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")


class FileSystem:
    """An ext4 file system in a file."""

    def __init__(self, folder: Path) -> None:
        for tool in TOOLS:
            if not shutil.which(tool):
                raise Lacking(f"there is no {tool}")
        if os.geteuid() != 0:
            raise Lacking("mounting needs root")
        self.image, self.point = folder / "image", folder / "mounted"
        self.point.mkdir(exist_ok=True)
        self.mounted = False
        self.options = "loop"

    def make(self, options: str) -> None:
        self.unmount()
        self.options = options
        self.image.unlink(missing_ok=True)
        with self.image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-F", self.image)

    def mount(self) -> None:
        run("mount", "-o", self.options, self.image, self.point)
        self.mounted = True

    def unmount(self) -> None:
        # A process that was killed may hold it a moment longer.
        for attempt in range(50):
            if not self.mounted:
                return
            try:
                run("umount", self.point)
                self.mounted = False
            except Lacking:
                if attempt == 49:
                    raise
                time.sleep(0.1)

    def shut_down(self, flag: int) -> None:
        opened = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, EXT4_IOC_SHUTDOWN, struct.pack("I", flag))
        except OSError as error:
            raise Lacking(f"the shutdown ioctl of ext4: {error}") from error
        finally:
            os.close(opened)

    def check(self) -> None:
        run("e2fsck", "-f", "-n", self.image)


class PowerCuts:
    def __init__(self, folder: Path, seed: int) -> None:
        self.seed, self.numbers = seed, random.Random(seed)
        self.system = FileSystem(folder)
        self.cuts = self.operations = self.durable = self.lost = self.late = 0
        self.kinds: dict[str, int] = {}
        self.begin()

    def begin(self) -> None:
        """A new file system with no database."""
        self.mode = self.numbers.choice(["loop", "loop,noauto_da_alloc"])
        self.system.make(self.mode)
        self.load_seed = self.numbers.randrange(1 << 30)
        self.states = [State(self.load_seed, writer) for writer in range(WRITERS)]
        self.left = CUTS_OF_A_FILE_SYSTEM

    def options(self) -> dict[str, Any]:
        choose = self.numbers.choice
        return {
            **SMALL,
            "wal__mapped": choose([True, False]),
            "wal__durability": choose(["sync", "interval", "interval", "os", "os"]),
            "wal__sync_interval_ms": choose([5, 100]),
            "strategy": choose(["atll", "atll", "leveled", "tiered"]),
        }

    def cut_once(self) -> None:
        flag = self.numbers.choice([LOGFLUSH, NOLOGFLUSH, NOLOGFLUSH])
        kind = f"{self.mode}, {'log flushed' if flag == LOGFLUSH else 'log not flushed'}"
        self.system.mount()
        path = self.system.point / "db"
        firsts = [state.number + 1 for state in self.states]
        child = Child(path, self.load_seed, firsts, self.options())
        time.sleep(self.numbers.uniform(0.25, 1.5))
        # What was heard of before the cut. The kernel may still answer a sync that is under way while it shuts down.
        durable = list(child.journal.durable)
        self.system.shut_down(flag)
        time.sleep(self.numbers.uniform(0.0, 0.1))
        if child.process.poll() is None:
            os.killpg(child.process.pid, signal.SIGKILL)
        said = child.finish()
        if "Violation" in said:
            raise Violation(said)
        self.system.unmount()
        self.cuts += 1
        self.left -= 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.system.mount()
        self.judge(path, child.journal, durable)
        self.system.unmount()
        if self.left % 5 == 0:
            self.system.check()

    def judge(self, path: Path, journal: Journal, durable: list[int]) -> None:
        self.operations += journal.count
        self.durable += sum(last + 1 - first for last, first in zip(durable, journal.firsts, strict=True))
        if not (path / "CURRENT").exists():
            if any(last >= 0 for last in durable):
                raise Violation("P1: there is no database")
            return
        most = [last + 1 for last in journal.last]
        # Writes nothing, so that an image that breaks a promise stays as it is.
        held = self.read(path, True, durable, most)
        judge_order(journal, held)
        self.lost += sum(max(0, last - match.most) for last, match in zip(journal.last, held, strict=True))
        self.late += sum(max(0, last - match.most) for last, match in zip(journal.durable, held, strict=True))
        self.states = [match.state for match in held]
        # Only sometimes recovered for good: else what is left is recovered after the next cut.
        if self.numbers.random() < 0.5:
            numbers = [state.number for state in self.states]
            self.read(path, False, numbers, numbers)

    def read(self, path: Path, read_only: bool, least: list[int], most: list[int]) -> list[Match]:
        with nori_lsm.open(path, create=False, read_only=read_only) as db:
            held = judge(db, self.states, least, most)
            report = db.verify()
            if not report.ok:
                raise Violation(f"verify: {report.findings}")
        return held

    def report(self) -> str:
        kinds = "; ".join(f"{kind}: {count}" for kind, count in sorted(self.kinds.items()))
        return (
            f"seed {self.seed}: {self.cuts} cuts ({kinds}); {self.operations} operations acknowledged, "
            f"{self.durable} of them durable, {self.lost} that were not durable lost, "
            f"{self.late} that a sync called durable during the cut"
        )


def cut(folder: Path, arguments: argparse.Namespace) -> int:
    cuts: PowerCuts | None = None
    deadline = time.monotonic() + 60 * arguments.minutes
    try:
        cuts = PowerCuts(folder, arguments.seed)
        while cuts.cuts < arguments.cuts and time.monotonic() < deadline:
            if cuts.left == 0:
                cuts.begin()
            cuts.cut_once()
    except Lacking as lacking:
        if cuts and cuts.cuts > 0:
            print(f"{cuts.report()}\nIt cannot go on: {lacking}")
            return 1
        if cuts:
            cuts.system.unmount()
        shutil.rmtree(folder)
        print(f"Skipped: {lacking}")
        return 0
    except (Violation, nori_lsm.Error, OSError) as problem:
        assert cuts
        print(f"{cuts.report()}\n1 violation: {type(problem).__name__}: {problem}\nThe image is left in {folder}")
        return 1
    finally:
        if cuts:
            cuts.system.unmount()
    shutil.rmtree(folder)
    print(f"{cuts.report()}\n0 violations")
    return 0


def main() -> int:
    arguments = parse("powercut", __doc__, "cuts", 50, "image")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="nori_powercut_"))
    folder.mkdir(exist_ok=True)
    return cut(folder, arguments)


if __name__ == "__main__":
    sys.exit(main())
