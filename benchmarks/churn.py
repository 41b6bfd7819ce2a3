"""What overwriting costs the disk: as many uniform overwrites as there are keys."""

import time
from collections.abc import Iterator
from pathlib import Path

from . import data
from .measure import Measured, dirtied_bytes, disk_bytes, system_io, timed
from .stage import Spec, closed, opened

POLL_SECS = 0.5
QUIET_POLLS = 6  # In a row: engines also work by the clock.
QUIET_BYTES = 256 << 10  # In one poll.
QUIET_LOAD = 0.1  # Of a processor.
MOST_SECS = 120.0


def churn(spec: Spec) -> Iterator[Measured]:
    """Loaded in random order, drained, overwritten, drained again. All that reaches the disk from the first overwrite to
    the end of that is counted, the log too, as the system counts it: pages made dirty."""
    keys = data.keys(data.shuffled(spec.count, spec.seed))
    drawn = data.keys(data.drawn(spec.count, spec.count, spec.seed + 18))
    engine = opened(spec, spec.own_path, fresh=True)
    engine.fill(keys, data.values(spec.count, spec.value_bytes))
    drain()
    before = dirtied_bytes(system_io())
    result = timed("churn", spec.count, lambda: engine.fill(drawn, data.values(spec.count, spec.value_bytes, seed=5)))
    drain()
    pair_bytes = len(keys[0]) + spec.value_bytes
    result.user_bytes = result.raw_bytes = spec.count * pair_bytes
    result.written_bytes = dirtied_bytes(system_io()) - before
    result.space_bytes = disk_bytes(Path(spec.own_path))
    yield closed(engine, result)


def drain() -> None:
    """Until the process has come to rest. An engine that never does is counted as far as it came."""
    quiet, begun = 0, time.monotonic()
    while quiet < QUIET_POLLS and time.monotonic() - begun < MOST_SECS:
        written, worked = dirtied_bytes(system_io()), time.process_time()
        time.sleep(POLL_SECS)
        is_quiet = dirtied_bytes(system_io()) - written < QUIET_BYTES
        is_quiet = is_quiet and time.process_time() - worked < QUIET_LOAD * POLL_SECS
        quiet = quiet + 1 if is_quiet else 0
