"""`Recorder`: what an engine was doing, over time."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nori_lsm import _core
from nori_lsm.events import Decision
from nori_lsm.stats import SlotList, Stats

if TYPE_CHECKING:
    from nori_lsm._core import Engine

__all__ = ["Recorder", "Row", "record"]


@dataclass(frozen=True)
class Row:
    """One moment: `seconds` since the recording began."""

    seconds: float
    stats: Stats
    slots: SlotList

    def to_dict(self) -> dict[str, Any]:
        """The numbers of stats, and of the slots their count, bytes, most runs and most heat."""
        numbers = {name: value for name, value in self.stats.to_dict().items() if name != "latency_micros"}
        for op, times in self.stats.latency_micros.items():
            numbers.update({f"{op}_{name}": value for name, value in times.items()})
        return {
            "seconds": self.seconds,
            **numbers,
            "slots": len(self.slots),
            "slot_bytes": sum(slot.bytes for slot in self.slots),
            "max_runs": max((slot.runs for slot in self.slots), default=0),
            "max_heat": max((slot.heat for slot in self.slots), default=0.0),
        }


class Recorder:
    """Takes a row every `interval` seconds while its with block runs, and keeps the last `keep` of them.

    sample() takes one at any other time. Rows stay when the engine closes. A thread of its own takes them; the recorder
    holds its engine, the thread holds neither.
    """

    def __init__(self, engine: Engine, interval: float = 1.0, *, keep: int = 3600) -> None:
        if not interval > 0:
            raise ValueError(f"interval must be above 0 seconds, not {interval!r}")
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep!r}")
        self.interval = float(interval)
        self.decisions: list[Decision] = []  # As of the last row.
        self._engine = engine
        self._rows: deque[Row] = deque(maxlen=keep)
        self._begun = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def rows(self) -> list[Row]:
        with self._lock:
            return list(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<nori_lsm.Recorder of {self._engine.path!r}, {len(self._rows)} rows>"

    def sample(self) -> Row:
        """Takes a row now."""
        stats, slots, decisions = self._engine.stats(), self._engine.slots(), self._engine.decisions()
        row = Row(time.monotonic() - self._begun, stats, slots)
        with self._lock:
            self._rows.append(row)
            self.decisions = decisions
        return row

    def __enter__(self) -> Recorder:
        if self._thread is not None:
            raise RuntimeError("this recorder is recording already")
        self.sample()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_run, args=(weakref.ref(self), self._stop, self.interval), name="nori-recorder", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes a last row, if the engine is open, and ends the recording. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join()
        _sample_if_open(self)

    def to_pandas(self) -> Any:
        """A DataFrame: a line for each row, indexed by its seconds."""
        try:
            import pandas  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError("Recorder.to_pandas needs pandas: pip install 'nori-lsm[pandas]'") from error
        return pandas.DataFrame([row.to_dict() for row in self.rows]).set_index("seconds")

    def plot(self) -> Any:
        """A figure: heat, amplification, what was written and why, decisions. Needs matplotlib."""
        from nori_lsm import plot

        return plot.overview(self)


def _sample_if_open(recorder: Recorder) -> bool:
    try:
        recorder.sample()
    except (_core.Error, OSError):
        return False
    return True


def _run(reference: weakref.ref[Recorder], stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        recorder = reference()
        if recorder is None or not _sample_if_open(recorder):
            return
        del recorder


def record(engine: Engine, interval: float = 1.0, *, keep: int = 3600) -> Recorder:
    return Recorder(engine, interval, keep=keep)
