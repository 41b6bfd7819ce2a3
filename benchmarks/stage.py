"""A stage: one process of one engine, which runs the workloads that share a database.

Every workload checks that the engine gave what it had to give: a fast wrong answer is an error, not a result.
"""

import os
import shutil
from dataclasses import dataclass

from . import data
from .engine import Engine
from .engines import ENGINES
from .measure import Measured, timed

MET_BYTES = 2048  # Fewer than any engine's block holds.


@dataclass(frozen=True)
class Spec:
    """What a stage is asked for; crosses the process boundary as JSON."""

    engine: str
    stage: str
    count: int
    value_bytes: int
    seed: int
    directory: str
    cache_mib: int | None = None

    @property
    def shared_path(self) -> str:
        """The database that fillrandom leaves for the stages after it."""
        return os.path.join(self.directory, f"{self.engine}-random")

    @property
    def own_path(self) -> str:
        return os.path.join(self.directory, f"{self.engine}-{self.stage}")


def expect(what: str, got: int, wanted: int) -> None:
    if got != wanted:
        raise AssertionError(f"{what}: {got}, expected {wanted}")


def opened(spec: Spec, path: str, *, fresh: bool, **options: bool) -> Engine:
    if fresh:
        shutil.rmtree(path, ignore_errors=True)
    return ENGINES[spec.engine](path, cache_mib=spec.cache_mib, **options)


def warmed(spec: Spec, path: str) -> Engine:
    """Opened, and every block of what fillrandom left met once."""
    engine = opened(spec, path, fresh=False)
    step = max(MET_BYTES // (data.KEY_BYTES + spec.value_bytes), 1)
    expect("keys missing", engine.absent(data.keys(range(0, spec.count, step))), 0)
    return engine


def closed(engine: Engine, result: Measured) -> Measured:
    """Closing is timed apart: it may flush."""
    closing = timed("close", 1, engine.close)
    result.close_seconds = closing.seconds
    return result
