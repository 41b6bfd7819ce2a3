"""For tests of programs that keep their data here: a disk in memory whose power can be cut."""

from __future__ import annotations

from nori_lsm._core import SimDisk

__all__ = ["SimDisk"]
