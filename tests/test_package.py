"""The package around the core: what it exports, what it derives, its command line and its tour's parts."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
from nori_lsm import Checkpoint, Finding, Progress, Slot, SlotList, Stats, VerifyReport, _terminal, cli, tour
from nori_lsm._tour_writer import entries_of_write
from nori_lsm.stats import COUNTERS

TOP = Path(__file__).resolve().parent.parent


def raw_counters(**changed: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {spec.name: 0 for spec in dataclasses.fields(Stats)}
    for name in ("write_amp", "read_amp", "space_amp", "wal_write_amp", "blocks_per_get"):
        del raw[name]
    return {**raw, "zone": "green", "poisoned": None, "pressure": 0.0, "latency_micros": {}, **changed}


def make_slot(**changed: Any) -> Slot:
    values: dict[str, Any] = {spec.name: 0 for spec in dataclasses.fields(Slot)}
    return Slot(**{**values, "level": 1, "start": b"", "stop": None, "mode": "leveled", **changed})


# ---------------------------------------------------------------- what there is


def test_all_that_is_exported_is_there() -> None:
    for name in nori_lsm.__all__:
        assert hasattr(nori_lsm, name), name
    public = {name for name in vars(nori_lsm) if not name.startswith("_")}
    modules = {name for name in public if isinstance(getattr(nori_lsm, name), type(os))}
    assert public - modules - {"annotations"} == set(nori_lsm.__all__) - {"__version__"}


def test_versions_agree() -> None:
    assert nori_lsm.__version__ == "0.1.0"
    assert f'version = "{nori_lsm.__version__}"' in (TOP / "pyproject.toml").read_text("utf-8")
    assert f"## {nori_lsm.__version__}" in (TOP / "CHANGELOG.md").read_text("utf-8")


def test_the_package_is_typed() -> None:
    folder = Path(nori_lsm.__file__).parent
    assert (folder / "py.typed").exists()
    assert (folder / "_core.pyi").exists()


def test_errors_are_what_their_users_catch() -> None:
    for error in (
        nori_lsm.LockedError,
        nori_lsm.ReadOnlyError,
        nori_lsm.CorruptionError,
        nori_lsm.FormatError,
        nori_lsm.StaleError,
        nori_lsm.PoisonedError,
    ):
        assert issubclass(error, (nori_lsm.Error,)) and issubclass(error, OSError)
    assert issubclass(nori_lsm.ClosedError, (nori_lsm.Error,)) and issubclass(nori_lsm.ClosedError, ValueError)
    assert issubclass(nori_lsm.BackpressureError, TimeoutError)
    assert issubclass(nori_lsm.ForkedError, nori_lsm.Error)


def test_importing_needs_no_test_library() -> None:
    program = "import sys, nori_lsm.testing, nori_lsm.cli; sys.exit(bool({'hypothesis', 'pytest'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_readme_s_quickstart_runs(tmp_path: Path) -> None:
    text = (TOP / "README.md").read_text("utf-8")
    program = text.split("```python\n", 1)[1].split("```", 1)[0]
    assert program.count("\n") <= 12
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


# ---------------------------------------------------------------- what is derived


def test_amplification_is_as_it_is_defined() -> None:
    stats = Stats.from_counters(
        raw_counters(
            flush_bytes_written=100,
            compaction_bytes_written=250,
            manifest_bytes_written=50,
            wal_bytes_written=120,
            user_bytes_written=100,
            gets=4,
            runs_probed=6,
            blocks_read=2,
            bytes_on_disk=150,
            live_bytes=100,
        )
    )
    assert stats.write_amp == 4.0
    assert stats.wal_write_amp == 1.2
    assert stats.read_amp == 1.5
    assert stats.blocks_per_get == 0.5
    assert stats.space_amp == 1.5


def test_amplification_of_nothing_is_defined() -> None:
    stats = Stats.from_counters(raw_counters())
    assert (stats.write_amp, stats.read_amp, stats.space_amp) == (0.0, 0.0, 1.0)
    assert Stats.from_counters(raw_counters(bytes_on_disk=1)).space_amp == math.inf


def test_a_difference_of_stats_is_the_time_between() -> None:
    latency = {"p50": 1.0, "p95": 1.0, "p99": 1.0, "p999": 1.0, "max": 1.0, "count": 3}
    earlier = Stats.from_counters(
        raw_counters(
            user_bytes_written=100, flush_bytes_written=100, l0_files=7, sequence=5, latency_micros={"get": latency}
        )
    )
    later = Stats.from_counters(
        raw_counters(
            user_bytes_written=300,
            flush_bytes_written=500,
            l0_files=2,
            sequence=9,
            latency_micros={"get": {**latency, "p50": 2.0, "count": 10}, "put": latency},
        )
    )
    between = later - earlier
    assert (between.user_bytes_written, between.flush_bytes_written) == (200, 400)
    assert between.write_amp == 2.0
    assert (between.l0_files, between.sequence) == (2, 9)
    assert between.latency_micros["get"] == {**latency, "p50": 2.0, "count": 7}
    assert between.latency_micros["put"]["count"] == 3
    with pytest.raises(TypeError):
        later - 1  # type: ignore[operator]


def test_counters_are_fields() -> None:
    assert COUNTERS.issubset(spec.name for spec in dataclasses.fields(Stats))


def test_results_are_frozen_and_become_dicts() -> None:
    finding = Finding(path="000001.sst", offset=3, kind="block", message="checksum")
    report = VerifyReport(ok=False, files=1, blocks=2, entries=3, findings=(finding,))
    results = [
        Progress(done=1, total=2, unit="bytes", phase="copy"),
        Checkpoint(path="/a", sequence=1, files=2, bytes=3, linked=1),
        finding,
        report,
        make_slot(),
        Stats.from_counters(raw_counters()),
    ]
    for result in results:
        assert set(result.to_dict()) == {spec.name for spec in dataclasses.fields(result)}
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, dataclasses.fields(result)[0].name, 0)
    assert report.to_dict()["findings"][0]["offset"] == 3
    assert SlotList([make_slot(slot_id=7)]).to_dict()["slots"][0]["slot_id"] == 7


def test_an_engine_shows_itself_open_and_closed(path: Path) -> None:
    db = nori_lsm.open(path)
    assert "bytes_on_disk" in db._repr_html_()
    db.close()
    assert "closed" in db._repr_html_()


# ---------------------------------------------------------------- the core's results


def test_the_core_s_results_are_the_package_s_classes(db: nori_lsm.Engine, tmp_path: Path) -> None:
    seen: list[Progress] = []
    for number in range(2000):
        db[b"%05d" % number] = b"x" * 100
    db.flush()
    db.compact(progress=seen.append)
    stats, slots = db.stats(), db.slots()
    assert isinstance(stats, Stats) and isinstance(slots, SlotList)
    assert stats.puts == 2000
    assert stats.write_amp > 0.0
    assert slots and all(isinstance(slot, Slot) for slot in slots)
    assert sum(slot.entries for slot in slots) == 2000
    assert all(isinstance(progress, Progress) for progress in seen)
    report = db.verify()
    assert isinstance(report, VerifyReport) and report.ok and report.findings == ()
    checkpoint = db.checkpoint(tmp_path / "copy")
    assert isinstance(checkpoint, Checkpoint) and checkpoint.path == str(tmp_path / "copy")


def test_slots_count_their_reads(db: nori_lsm.Engine) -> None:
    db[b"a"] = b"1"
    db.flush()
    db.compact()
    before = sum(slot.reads for slot in db.slots())
    for _ in range(100):
        assert db[b"a"] == b"1"
    assert sum(slot.reads for slot in db.slots()) > before


# ---------------------------------------------------------------- the command line


def run_cli(capfdbinary: pytest.CaptureFixture[bytes], *arguments: object) -> tuple[int, bytes, bytes]:
    code = cli.main([str(argument) for argument in arguments])
    sys.stdout.flush()
    output, errors = capfdbinary.readouterr()
    return code, output, errors


def test_the_command_line_puts_gets_and_scans(path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for key in ("a1", "a2", "b"):
        assert run_cli(capfdbinary, "put", path, key, "value of " + key)[0] == 0
    assert run_cli(capfdbinary, "get", path, "a2") == (0, b"value of a2", b"")
    assert run_cli(capfdbinary, "get", path, "c") == (1, b"", b"")
    assert run_cli(capfdbinary, "scan", path, "--prefix", "a")[1] == b"a1\tvalue of a1\na2\tvalue of a2\n"
    assert run_cli(capfdbinary, "scan", path, "--keys", "--reverse", "--limit", 2)[1] == b"b\na2\n"
    assert run_cli(capfdbinary, "scan", path, "--keys", "--start", "a2", "--stop", "b")[1] == b"a2\n"
    code, output, _ = run_cli(capfdbinary, "stats", path, "--json")
    assert code == 0 and json.loads(output)["sequence"] == 3
    assert b"space_amp" in run_cli(capfdbinary, "stats", path)[1]


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, output, errors = run_cli(capfdbinary, "get", tmp_path / "nothing", "key")
    assert code == 1 and output == b"" and b"nothing" in errors
    with pytest.raises(SystemExit):
        cli.main([])


def test_the_module_is_the_command(path: Path) -> None:
    command = [sys.executable, "-m", "nori_lsm", "--version"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == nori_lsm.__version__


# ---------------------------------------------------------------- parts of the tour


def test_the_tour_replaces_only_what_a_tour_left(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError):
        tour.prepare_directory(str(mine), keep=False)
    assert (mine / "thesis.txt").exists()

    left = tour.prepare_directory(str(tmp_path / "tour"), keep=False)
    (Path(left) / "db").mkdir()
    with pytest.raises(FileExistsError):
        tour.prepare_directory(left, keep=True)
    assert tour.prepare_directory(left, keep=False) == left
    assert not (Path(left) / "db").exists()


def test_a_claim_that_does_not_hold_fails_the_tour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lie(self: tour.Tour) -> None:
        tour.check(False, "two is three")

    monkeypatch.setattr(tour.Tour, "run", lie)
    assert tour.run(str(tmp_path / "tour")) == 1
    assert "FAILED: two is three" in capsys.readouterr().err


def test_writes_of_the_tour_s_child_follow_from_their_number() -> None:
    assert entries_of_write(3) == entries_of_write(3) != entries_of_write(4)
    assert [len(entries_of_write(number)) for number in (8, 9, 10)] == [1, 10, 1]


def test_progress_is_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with _terminal.ProgressBar("load", 200, stream) as bar:
        for done in range(201):
            bar.update(done)
    assert stream.getvalue() == "load: 25 %\nload: 50 %\nload: 75 %\nload: 100 %\n"


def test_progress_redraws_one_line_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with _terminal.ProgressBar("load", 2, stream) as bar:
        bar.update(1)
    assert "\n" not in stream.getvalue()
    assert "50%" in stream.getvalue()


def test_keys_are_shown_in_one_line() -> None:
    assert _terminal.format_key(b"a\n\xff\\\x1b[31m") == "a\\n\\xff\\\\\\x1b[31m"
    assert _terminal.format_key("é".encode()) == "é"
    assert _terminal.format_key(b"x" * 30, 10) == "xxxxxxxxx…"
