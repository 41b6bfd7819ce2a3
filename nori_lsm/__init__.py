"""An embedded, ordered, durable key-value store with the manners of a dict.

>>> import nori_lsm
>>> with nori_lsm.open("path") as db:
...     db[b"key"] = b"value"
"""

from __future__ import annotations

from os import PathLike as _PathLike
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

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
from nori_lsm.reports import Checkpoint, Finding, Progress, VerifyReport
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
]

_core._register(
    config_from_pairs=_config_from_pairs,
    stats=Stats.from_counters,
    slot=Slot,
    slot_list=SlotList,
    verify_report=VerifyReport,
    finding=Finding,
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
