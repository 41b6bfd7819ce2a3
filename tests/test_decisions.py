"""Decisions: what was chosen, at what cost; the recorder, which keeps them with the numbers of the time."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

import nori_lsm
from nori_lsm import Decision
from nori_lsm.testing import SimDisk
from tests_support import SMALL, fill


def test_every_choice_is_kept_with_what_it_cost(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        assert db.decisions() == []
        fill(db)
        db.flush()
        db.compact()
        decisions = db.decisions()
        stats = db.stats()
    assert decisions and all(isinstance(decision, Decision) for decision in decisions)
    assert [decision.sequence for decision in decisions] == list(range(1, len(decisions) + 1))
    assert all(decision.done for decision in decisions)
    assert sum(decision.bytes for decision in decisions) == stats.compaction_bytes_written
    assert all(math.isnan(decision.realised_reward) for decision in decisions)
    assert all(decision.action != "none" and decision.predicted_reward >= 0 for decision in decisions)
    assert set(decisions[0].context) >= {"l0_depth", "pressure", "runs_over_k", "size", "read_heat", "tombstone_density"}
    assert decisions[0].to_dict()["action"] == decisions[0].action
    with pytest.raises(nori_lsm.ClosedError):
        db.decisions()


def test_a_recorder_takes_rows_while_its_block_runs(path: Path) -> None:
    with nori_lsm.open(path, **SMALL) as db:
        with db.record(0.02) as recorder:
            fill(db, 2000)
            time.sleep(0.1)
        rows = recorder.rows
        assert len(rows) >= 3 and len(rows) == len(recorder)
        assert [row.seconds for row in rows] == sorted(row.seconds for row in rows)
        assert rows[-1].stats.puts == 2000 and rows[-1].to_dict()["puts"] == 2000
        assert 0 < len(recorder.decisions) <= len(db.decisions())
        time.sleep(0.05)
        assert len(recorder) == len(rows)
    assert len(recorder.rows) == len(rows)
    with pytest.raises(nori_lsm.ClosedError):
        recorder.sample()


def test_a_recorder_keeps_the_last_rows(db: nori_lsm.Engine) -> None:
    recorder = db.record(keep=3)
    for number in range(5):
        db[b"%d" % number] = b""
        recorder.sample()
    assert [row.stats.puts for row in recorder.rows] == [3, 4, 5]


def test_a_recorder_ends_with_its_engine(path: Path) -> None:
    db = nori_lsm.open(path)
    with db.record(0.01) as recorder:
        db.close()
        time.sleep(0.05)
    assert len(recorder) >= 1


def test_a_recorder_says_what_is_wrong(db: nori_lsm.Engine) -> None:
    for interval in (0, -1, math.nan):
        with pytest.raises(ValueError, match="interval"):
            db.record(interval)
    with pytest.raises(ValueError, match="keep"):
        db.record(keep=0)
    with db.record() as recorder, pytest.raises(RuntimeError):
        recorder.__enter__()


def test_rows_become_a_frame(db: nori_lsm.Engine) -> None:
    recorder = db.record()
    recorder.sample()
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"nori-lsm\[pandas\]"):
            recorder.to_pandas()
        return
    frame = recorder.to_pandas()
    assert len(frame) == 1 and "write_amp" in frame.columns
