from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import nori_lsm
from nori_lsm.testing import SimDisk

# How long an example takes says something of the machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made; there is none yet."""
    return tmp_path / "db"


@pytest.fixture
def db(path: Path) -> Iterator[nori_lsm.Engine]:
    """A new database on the file system."""
    with nori_lsm.open(path) as engine:
        yield engine


@pytest.fixture
def disk() -> SimDisk:
    """A disk in memory, always the same one."""
    return SimDisk(seed=1)
