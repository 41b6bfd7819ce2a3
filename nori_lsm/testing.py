"""For tests of programs that keep their data here: a disk in memory whose power can be cut."""

from __future__ import annotations

from nori_lsm._core import SimDisk
from nori_lsm._crash_points import CrashPoint, crash_points

__all__ = ["CrashPoint", "SimDisk", "crash_points"]
