"""For tests of programs that keep their data here: a disk in memory whose power can be cut, and what cuts it.

SimDisk         the disk; open(path, env=disk)
crash_points    a script, stopped at each of its operations on the disk in turn
EngineMachine   a hypothesis state machine to add rules to. Only this needs hypothesis
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nori_lsm._core import SimDisk
from nori_lsm._crash_points import CrashPoint, crash_points

if TYPE_CHECKING:
    from nori_lsm._engine_machine import EngineMachine as EngineMachine

__all__ = ["CrashPoint", "SimDisk", "crash_points"]  # What * brings needs no hypothesis.


def __getattr__(name: str) -> Any:
    if name != "EngineMachine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from nori_lsm._engine_machine import EngineMachine
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "hypothesis":
            raise
        raise ImportError("nori_lsm.testing.EngineMachine needs the package hypothesis (pip install hypothesis)", name="hypothesis") from error
    globals()[name] = EngineMachine
    return EngineMachine
