"""An embedded, ordered, durable key-value store with the manners of a dict.

>>> import nori_lsm
>>> with nori_lsm.open("path") as db:
...     db[b"key"] = b"value"
"""

from __future__ import annotations

from collections.abc import Callable as _Callable
from os import PathLike as _PathLike
from os import fsdecode as _fsdecode
from os.path import commonpath as _commonpath
from os.path import realpath as _realpath
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any
from typing import Literal as _Literal

from nori_lsm import _core, html, recorder, watch
from nori_lsm._core import (
    BackpressureError,
    Batch,
    ClosedError,
    CorruptionError,
    Engine,
    Error,
    ForkedError,
    FormatError,
    LockedError,
    PoisonedError,
    ReadOnlyError,
    Scan,
    Snapshot,
    StaleError,
    __version__,
)
from nori_lsm.config import (
    Config,
    Durability,
    FilterConfig,
    IoConfig,
    L0Config,
    LevelConfig,
    MemtableConfig,
    PressureConfig,
    ResourceConfig,
    TombstoneConfig,
    WalConfig,
)
from nori_lsm.config import config_from_pairs as _config_from_pairs
from nori_lsm.config import config_pairs as _config_pairs
from nori_lsm.config import override_pairs as _override_pairs
from nori_lsm.events import Decision, Event
from nori_lsm.meter import Meter
from nori_lsm.recorder import Recorder
from nori_lsm.reports import Checkpoint, Finding, Progress, RepairFinding, RepairReport, VerifyReport
from nori_lsm.stats import Slot, SlotList, Stats

if _TYPE_CHECKING:
    from nori_lsm._core import SimDisk as _SimDisk

__all__ = [
    "BackpressureError",
    "Batch",
    "Checkpoint",
    "ClosedError",
    "Config",
    "CorruptionError",
    "Decision",
    "Durability",
    "Engine",
    "Error",
    "Event",
    "FilterConfig",
    "Finding",
    "ForkedError",
    "FormatError",
    "IoConfig",
    "L0Config",
    "LevelConfig",
    "LockedError",
    "MemtableConfig",
    "Meter",
    "PoisonedError",
    "PressureConfig",
    "Progress",
    "ReadOnlyError",
    "Recorder",
    "RepairFinding",
    "RepairReport",
    "ResourceConfig",
    "Scan",
    "Slot",
    "SlotList",
    "Snapshot",
    "StaleError",
    "Stats",
    "TombstoneConfig",
    "VerifyReport",
    "WalConfig",
    "__version__",
    "open",
    "repair",
]

_core._register(
    config_from_pairs=_config_from_pairs,
    stats=Stats.from_counters,
    slot=Slot,
    slot_list=SlotList,
    verify_report=VerifyReport,
    finding=Finding,
    repair_report=RepairReport,
    repair_finding=RepairFinding,
    checkpoint=Checkpoint,
    progress=Progress,
    engine_html=html.engine,
    event=Event,
    decision=Decision,
    events=watch.events,
    subscribe=watch.subscribe,
    record=recorder.record,
)


def open(
    path: str | _PathLike[str],
    config: Config | None = None,
    *,
    create: bool = True,
    exist_ok: bool = True,
    read_only: bool = False,
    wait: float = 0.0,
    meter: Meter | None = None,
    env: _SimDisk | None = None,
    **overrides: _Any,
) -> Engine:
    """Open the database in directory `path`, recovering it first where needed.

    config      None: as last opened (kept in the manifest), defaults when new. A Config replaces all of it;
                overrides win over both. wal, io and resources are not kept; a read_only open keeps nothing
    create      make it if it is missing (parents are not made); False raises FileNotFoundError
    exist_ok    False raises FileExistsError where a database already is
    read_only   write nothing at all, take no exclusive lock; several processes may, beside a writer too;
                FileNotFoundError where there is no database
    wait        seconds to wait for the lock, whoever holds it, before LockedError
    meter       receives metrics and events (see Meter)
    env         another storage environment, e.g. nori_lsm.testing.SimDisk(); None is the file system
    overrides   any Config field by name; nested ones with a double underscore: l0__max_files=8.
                Unknown: TypeError. `num_slots` is accepted for l1_slot_count; both given: ValueError

    The path may be or contain symlinks (same lock either way); below it none is followed.
    """
    if config is not None and not isinstance(config, Config):
        raise TypeError(f"config must be a Config or None, not {type(config).__name__}")
    engine = _core.open(
        path,
        None if config is None else _config_pairs(config),
        _override_pairs(overrides),
        create=create,
        exist_ok=exist_ok,
        read_only=read_only,
        wait=wait,
        env=env,
    )
    if meter is not None:
        try:
            watch.measure(engine, meter)
        except BaseException:
            engine.close()
            raise
    return engine


def repair(
    path: str | _PathLike[str],
    into: str | _PathLike[str],
    *,
    doubtful: _Literal["drop", "keep"] = "drop",
    progress: _Callable[[Progress], object] | None = None,
    env: _SimDisk | None = None,
) -> RepairReport:
    """Salvage what is whole of the database in directory `path`, which no engine has open, into a new one at `into`.

    doubtful    where something is lost that may have been newer, a value or a delete, what is left of older entries:
                "drop" leaves it out, so that no old value and no deleted key comes back; "keep" takes it
    progress    called with a Progress; what it raises ends the repair
    env         as for open(): where both paths are

    `path` is only read, and may be read-only. Its tables count as far as its newest manifest says, and of the log what
    comes before the first damage: the report's `sequence` says how far that is, its `findings` what is wrong and of
    which keys something is lost. Deletes, range deletes and expiries hold as they did. Without a manifest all tables
    are taken and told apart by sequences; what was replaced or deleted long ago may be among them, and the report says
    so. The new database is complete at `into`, or not there.

    FileExistsError where `into` is, FileNotFoundError where there is no database, LockedError while an engine has it
    open, ValueError where `into` lies in `path`, CorruptionError where nothing can be read, OSError where reading
    fails: that is no damage; copy what can be read first.
    """
    if doubtful not in ("drop", "keep"):
        raise ValueError(f"doubtful is {doubtful!r}, must be 'drop' or 'keep'")
    if env is None:
        source, target = _realpath(_fsdecode(path)), _realpath(_fsdecode(into))
        if source != target and _commonpath([source, target]) == source:
            raise ValueError(f"{_fsdecode(into)} lies in {_fsdecode(path)}")
    report: RepairReport = _core.repair(path, into, doubtful == "keep", progress, env)
    return report
