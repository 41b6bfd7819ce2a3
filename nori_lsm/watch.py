"""Delivery of events: to subscribers, to a meter, to iterators.

An engine that is watched has a Watcher, and the Watcher one daemon thread. What keeps what alive: the engine holds its
watcher, the watcher its subscribers; the thread holds neither but while it works, so an engine that nobody else holds
is garbage like any other. When the engine closes it tells the watcher, which hands what is left to its thread and
waits for it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nori_lsm import _core
from nori_lsm.events import Event
from nori_lsm.meter import Meter, Metrics

if TYPE_CHECKING:
    from nori_lsm._core import Engine

__all__ = ["Watcher", "events", "measure", "subscribe"]

_POLL_SECONDS = 0.03
_METER_SECONDS = 1.0
_IDLE_SECONDS = 5.0
# How long an engine that was not closed, and is garbage, waits for a subscriber that does not come back.
_FORGOTTEN_SECONDS = 5.0
_FOREVER = sys.maxsize


class _Subscription:
    """Events with first <= number < last go to the callback."""

    def __init__(self, callback: Callable[[Event], object], first: int) -> None:
        self.callback = callback
        self.first = first
        self.last = _FOREVER
        self.ended = threading.Event()


class _Control:
    """What the thread holds while it sleeps."""

    def __init__(self) -> None:
        self.wake = threading.Event()
        self.finishing: Watcher | None = None  # The engine may be garbage by then, and weak references dead.


class Watcher:
    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        self._process = os.getpid()
        self._lock = threading.RLock()  # Guards all below; not held while callbacks run.
        self._cursor: int | None = None
        self._pending: deque[Event] = deque()
        self._taken = 0  # The last event that left the queue.
        self._subscriptions: list[_Subscription] = []
        self._metrics: Metrics | None = None
        self._measured = 0.0
        self._is_measuring = False
        self._is_finishing = False
        self._finished = threading.Event()
        self._control = _Control()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ for who watches

    def subscribe(self, engine: Engine, callback: Callable[[Event], object]) -> Callable[[], None]:
        with self._lock:
            self._pump(engine)
            assert self._cursor is not None
            subscription = _Subscription(callback, self._cursor + 1)
            self._subscriptions.append(subscription)
            self._start()
        reference = weakref.ref(self)

        def unsubscribe() -> None:
            watcher = reference()
            if watcher is not None:
                watcher._unsubscribe(subscription)

        return unsubscribe

    def measure(self, engine: Engine, metrics: Metrics) -> None:
        with self._lock:
            self._pump(engine)
            self._metrics = metrics
            self._start()
        self._update_metrics(engine)

    def _unsubscribe(self, subscription: _Subscription) -> None:
        if os.getpid() != self._process:
            return
        with self._lock:
            if subscription not in self._subscriptions:
                return
            engine = self._engine()
            if engine is not None:
                self._pump(engine)
            newest = self._pending[-1].number if self._pending else self._taken
            subscription.last = min(subscription.last, newest + 1)
        self._control.wake.set()
        self._wait_for(subscription.ended, None)

    # ------------------------------------------------------------ for the engine's close()

    def closing(self, engine: Engine, may_wait: bool) -> None:
        """The last numbers of an engine that is about to close."""
        if self._metrics is not None:
            self._update_metrics(engine)

    def finish(self, engine: Engine, may_wait: bool) -> None:
        """The engine is closed: what is queued is delivered before this returns, but to a callback that called it."""
        with self._lock:
            if self._thread is None:
                return
            if not self._is_finishing:
                self._pump(engine)
                self._is_finishing = True
                self._control.finishing = self
        self._control.wake.set()
        self._wait_for(self._finished, None if may_wait else _FORGOTTEN_SECONDS)

    def _wait_for(self, done: threading.Event, seconds: float | None) -> None:
        """Until the thread has set `done`. The thread itself, in a callback, goes on instead."""
        thread = self._thread
        if thread is None or threading.current_thread() is thread:
            return
        deadline = None if seconds is None else time.monotonic() + seconds
        while not done.wait(0.05):
            if not thread.is_alive():
                self._deliver()  # It went when the engine became garbage; what is queued is still owed.
                return
            if sys.is_finalizing() or (deadline is not None and time.monotonic() > deadline):
                return

    # ------------------------------------------------------------ for the thread

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=_run, args=(self._control, weakref.ref(self)), name="nori-events", daemon=True
            )
            self._thread.start()
        self._control.wake.set()

    def _pump(self, engine: Engine) -> None:
        """What is new in the engine's ring, into the queue. The first call finds where it begins."""
        more = True
        while more:
            batch, self._cursor, dropped = engine._read_events(self._cursor)
            self._pending.extend(batch)
            if dropped and self._metrics is not None:
                self._metrics.dropped(dropped)
            more = bool(batch)

    def turn(self) -> float | None:
        """Delivers what there is. Returns how long to sleep, None when it was the last turn."""
        engine = self._engine()
        with self._lock:
            if engine is not None and not self._is_finishing:
                self._pump(engine)
        is_due = self._metrics is not None and time.monotonic() - self._measured >= _METER_SECONDS
        if engine is not None and is_due and not self._is_finishing:
            self._update_metrics(engine)
        del engine  # Callbacks must not find it held by us.
        self._deliver()
        with self._lock:
            if self._is_finishing and not self._pending:
                self._end()
                return None
            return _POLL_SECONDS if self._subscriptions or self._metrics else _IDLE_SECONDS

    def _end(self) -> None:
        for subscription in self._subscriptions:
            subscription.ended.set()
        self._subscriptions.clear()
        self._control.finishing = None
        self._finished.set()

    def _deliver(self) -> None:
        while True:
            with self._lock:
                self._drop_ended()
                if not self._pending:
                    return
                event = self._pending.popleft()
                self._taken = event.number
                subscriptions = list(self._subscriptions)
                metrics = self._metrics
            if metrics is not None:
                _guarded(metrics.emit, event)
            for subscription in subscriptions:
                if subscription.first <= event.number < subscription.last:
                    _guarded(subscription.callback, event)

    def _drop_ended(self) -> None:
        following = self._pending[0].number if self._pending else _FOREVER - 1
        for subscription in [each for each in self._subscriptions if each.last <= following]:
            self._subscriptions.remove(subscription)
            subscription.ended.set()

    def _update_metrics(self, engine: Engine) -> None:
        with self._lock:
            metrics = self._metrics
            if metrics is None or self._is_measuring:
                return
            self._is_measuring = True
        try:
            self._measured = time.monotonic()
            metrics.update(engine)
        except _core.ClosedError:
            pass
        except BaseException as error:
            _core._report_unraisable(error, metrics)
        finally:
            self._is_measuring = False


def _guarded(callback: Callable[[Event], object], event: Event) -> None:
    try:
        callback(event)
    except BaseException as error:
        _core._report_unraisable(error, callback)


def _run(control: _Control, reference: weakref.ref[Watcher]) -> None:
    while True:
        watcher = control.finishing or reference()
        if watcher is None:
            return
        control.wake.clear()
        seconds = watcher.turn()
        del watcher
        if seconds is None:
            return
        control.wake.wait(seconds)


# ---------------------------------------------------------------- what Engine's methods call

_making = threading.Lock()


def _watcher_of(engine: Engine) -> Watcher:
    with _making:
        watcher: Watcher | None = engine._watcher
        if watcher is None:
            watcher = engine._watcher = Watcher(engine)
    return watcher


def subscribe(engine: Engine, callback: Callable[[Event], object], /) -> Callable[[], None]:
    if not callable(callback):
        raise TypeError(f"callback must be callable, not {type(callback).__name__}")
    return _watcher_of(engine).subscribe(engine, callback)


def measure(engine: Engine, meter: Meter) -> None:
    """Feeds the meter from now on; creates all its metrics at once."""
    _watcher_of(engine).measure(engine, Metrics(meter, engine.config.max_levels))


def events(engine: Engine, /, *, follow: bool = True) -> Iterator[Event]:
    return _iterate(engine, follow)


def _iterate(engine: Engine, follow: bool) -> Iterator[Event]:
    cursor: int | None = 0
    while True:
        was_closed = engine.closed  # Before reading: what close() does is read, too.
        batch, cursor, _ = engine._read_events(cursor)
        yield from batch
        if not batch and (was_closed or not follow):
            return
        if not batch:
            time.sleep(_POLL_SECONDS)
