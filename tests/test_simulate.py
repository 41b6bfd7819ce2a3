"""nori_lsm.simulate: what its module promises. The model itself is held by tests/c/engine/test_simulate.c."""

from __future__ import annotations

from dataclasses import replace

import nori_lsm
import pytest
from nori_lsm import simulate

SMALL = simulate.Workload(keys=50_000, memtable_entries=1000, write_bytes=100_000 * 116, reads_per_sec=10_000, seed=3)
OPTIONS = {
    "level1_bytes": 1_200_000,
    "table_bytes": 150_000,
    "l1_slot_count": 8,
    "heat_decay_interval_secs": 1.0,
    "memtable__flush_trigger_bytes": 256 << 10,
}


def without_times(report: simulate.Report) -> simulate.Report:
    return replace(report, wall_seconds=0, open_seconds=0, planning_seconds=0, installing_seconds=0)


def test_a_report_says_what_was_written_and_where_it_lies():
    report = simulate.run(SMALL, **OPTIONS)
    assert report.user_bytes == pytest.approx(SMALL.write_bytes, rel=0.001)
    assert report.write_amp == pytest.approx(
        (report.flush_bytes + report.compaction_bytes + report.manifest_bytes) / report.user_bytes
    )
    assert report.max_write_amp >= report.write_amp > 1
    assert report.space_amp >= 1
    assert sum(level.bytes for level in report.levels) == pytest.approx(report.table_bytes, rel=0.2)
    assert {action.action for action in report.actions} >= {"admit", "split"}
    assert report.samples[-1].seconds == pytest.approx(report.seconds, rel=0.1)
    assert 0 <= report.stall_share <= 1
    assert report.to_dict()["levels"][1]["slots"] >= 1
    assert "write amplification" in str(report)


def test_one_seed_is_one_run():
    first, second = (without_times(simulate.run(SMALL, strategy="atll", **OPTIONS)) for _ in range(2))
    assert first == second


def test_options_are_given_as_to_open():
    config = nori_lsm.Config(strategy="leveled", **{k: v for k, v in OPTIONS.items() if "__" not in k})
    leveled = simulate.run(SMALL, config, memtable__flush_trigger_bytes=256 << 10)
    tiered = simulate.run(SMALL, config, strategy="tiered", memtable__flush_trigger_bytes=256 << 10)
    assert tiered.write_amp < leveled.write_amp
    assert tiered.read_amp > leveled.read_amp
    with pytest.raises(TypeError):
        simulate.run(SMALL, {"strategy": "leveled"})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        simulate.run(SMALL, no_such_option=1)


def test_reads_of_a_hot_range_are_told_apart():
    # A dear probe would have the rest leveled, too.
    hot = replace(SMALL, ranges=simulate.hot_range(0.05, 0.9), probe_ns=5_000, reads_per_sec=100_000)
    report = simulate.run(hot, **OPTIONS)
    assert len(report.range_read_amp) == 3
    assert report.range_read_amp[1] < 0.9 * report.range_read_amp[2]


@pytest.mark.parametrize("seed", range(1, 5))
def test_the_space_bound_is_kept_at_full_speed(seed):
    # Writers wait for level 0 nearly all the time.
    work = replace(SMALL, keys=800_000, write_bytes=1_600_000 * 116, reads_per_sec=0, write_bytes_per_sec=1e9, seed=seed)
    report = simulate.run(replace(work, merge_bytes_per_sec=40e6, stored_share=0.5, memtable_entries=1000), **OPTIONS)
    assert report.stall_share > 0.9
    assert 1.2 < max(sample.space_amp for sample in report.samples) <= 1.3


def test_reads_that_move_on_are_followed():
    shares = [0.94, 0.02, 0.02, 0.02]
    still = replace(
        SMALL,
        ranges=tuple(simulate.Range(0.25, 0.25, share) for share in shares),
        write_bytes_per_sec=1_000_000,
        reads_per_sec=100_000,
        probe_ns=5_000,
    )
    calm = simulate.run(still, **OPTIONS)
    whole = simulate.run(replace(still, rotate_secs=1e6), **OPTIONS)
    moved = simulate.run(replace(still, rotate_secs=calm.seconds / 4), **OPTIONS)
    assert without_times(whole) == without_times(calm)  # Nothing has moved yet.
    assert calm.range_read_amp[0] < min(calm.range_read_amp[1:])
    # Each was read for a while.
    assert all(a < b for a, b in zip(moved.range_read_amp[1:], calm.range_read_amp[1:], strict=True))


def test_a_large_tree_is_placed_not_written():
    workload = simulate.Workload.of_bytes(10**11, start="placed", write_bytes=10**9, value_bytes=1000)
    report = simulate.run(workload, strategy="leveled")
    assert report.table_bytes > 9 * 10**10
    assert report.load_write_amp == 0
    assert report.peak_slots > 1000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keys", 0),
        ("keys", -1),
        ("keys", 2**70),
        ("value_bytes", 2**40),
        ("delete_share", 1.0),
        ("write_bytes_per_sec", float("nan")),
        ("reads_per_sec", -1),
        ("merge_bytes_per_sec", 0),
        ("rotate_secs", -1),
        ("warm_up_bytes", 10**15),
        ("start", "loaded"),
        ("seed", "x"),
        ("ranges", (simulate.Range(0.5, 1, 1),)),
        ("ranges", (simulate.Range(1, 1, 1),) * 100),
    ],
)
def test_a_field_out_of_range_is_named(field, value):
    with pytest.raises(ValueError, match=field):
        simulate.run(replace(SMALL, **{field: value}))


@pytest.mark.parametrize(("keys", "at"), [(0.0, 0.4), (1.0, 0.4), (0.5, 0.5), (0.1, 0.0)])
def test_a_hot_range_that_is_none_is_refused(keys, at):
    with pytest.raises(ValueError):
        simulate.hot_range(keys, 0.9, at=at)


def test_ranges_of_a_hot_one_sum_to_all():
    ranges = simulate.hot_range(0.05, 0.9, 0.5, at=0.3)
    for share in ("keys", "writes", "reads"):
        assert sum(getattr(part, share) for part in ranges) == pytest.approx(1)


def test_progress_is_told_and_may_end_it():
    seen = []
    simulate.run(SMALL, progress=seen.append, **OPTIONS)
    assert {progress.phase for progress in seen} == {"load", "traffic"}
    assert seen[-1].total == SMALL.write_bytes

    def stop(progress: object) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        simulate.run(SMALL, progress=stop, **OPTIONS)
