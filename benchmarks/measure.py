"""Time and memory of one workload."""

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass
class Measured:
    workload: str
    operations: int
    seconds: float
    thread_seconds: float  # Processor time of the calling thread: what a busy machine disturbs least.
    process_seconds: float  # Of all threads, background work included.
    peak_bytes: int  # How far the process grew above what it was before, files mapped included.
    close_seconds: float = 0.0
    budget_bytes: int | None = None
    anonymous_bytes: int | None = None
    resident_bytes: int | None = None
    latency_micros: dict[str, float] | None = None  # Of single calls, where they were timed one by one.
    user_bytes: int | None = None  # Keys and values written, where what reached the disk was counted:
    written_bytes: int | None = None  # until nothing more was written,
    space_bytes: int | None = None  # and what the files take then,
    raw_bytes: int | None = None  # of so many bytes of keys and values.

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def status_bytes(*names: str) -> dict[str, int]:
    """Lines of /proc/self/status; nothing where there is no such file."""
    found = {}
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name in names:
                    found[name] = int(value.split()[0]) * 1024
    except OSError:
        pass
    return found


def system_io() -> dict[str, int]:
    """/proc/self/io; nothing where there is no such file."""
    try:
        with open("/proc/self/io") as lines:
            return {name: int(value) for name, _, value in (line.partition(":") for line in lines)}
    except OSError:
        return {}


def dirtied_bytes(seen: dict[str, int]) -> int:
    """Of pages made dirty, those of mappings too, less what was never written back."""
    return seen.get("write_bytes", 0) - seen.get("cancelled_write_bytes", 0)


def disk_bytes(path: Path) -> int:
    """What the files below a directory take."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.stat().st_blocks * 512
        except FileNotFoundError:  # Merged away meanwhile.
            pass
    return total


def reset_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w") as control:
            control.write("5")
    except OSError:
        pass


class Memory:
    """How far the process grows above where it stood when this was made."""

    def __init__(self) -> None:
        gc.collect()
        self.start = status_bytes("RssAnon", "VmRSS")
        self.peak_anonymous_bytes = self.peak_resident_bytes = 0

    def sample(self) -> None:
        now = status_bytes("RssAnon", "VmRSS")
        growth = {name: now[name] - self.start[name] for name in now}
        self.peak_anonymous_bytes = max(self.peak_anonymous_bytes, growth.get("RssAnon", 0))
        self.peak_resident_bytes = max(self.peak_resident_bytes, growth.get("VmRSS", 0))


def timed(workload: str, operations: int, work: Callable[[], Any]) -> Measured:
    reset_peak()
    before = status_bytes("VmRSS").get("VmRSS", 0)
    thread, process, wall = time.thread_time(), time.process_time(), time.perf_counter()
    work()
    wall = time.perf_counter() - wall
    thread, process = time.thread_time() - thread, time.process_time() - process
    peak = status_bytes("VmHWM").get("VmHWM", 0)
    return Measured(workload, operations, wall, thread, process, max(peak - before, 0))
