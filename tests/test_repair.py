"""repair(), and verify and repair on the command line: what is whole is saved, what is lost is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
from forge import Forge, counters, push, set_slot
from nori_lsm import Finding, Progress, RepairFinding, RepairReport, cli
from nori_lsm.testing import SimDisk

SMALL: dict[str, Any] = {"memtable__flush_trigger_bytes": 1 << 16, "table_bytes": 1 << 16, "level1_bytes": 1 << 18}
COUNT = 4000


def key(number: int) -> bytes:
    return b"key%05d" % number


def value(number: int) -> bytes:
    return b"value %d " % number * 3


def fill(path: Path) -> None:
    """Every key once, of which some are deleted; a log stays behind."""
    with nori_lsm.open(path, **SMALL) as db:
        db.update({key(number): value(number) for number in range(COUNT)})
        db.flush()
        db.delete_range(key(100), key(200))
        db.put(b"expires", b"later", ttl=1000)


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "db")
    return tmp_path / "db"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "new"


# ---------------------------------------------------------------- repair


def test_a_whole_database_is_copied_and_left_alone(path: Path, into: Path) -> None:
    before = contents(path)
    told: list[Progress] = []
    report = nori_lsm.repair(path, into, progress=told.append)
    assert isinstance(report, RepairReport)
    assert report.ok and report.basis == "manifest" and report.findings == ()
    assert (report.path, report.lost_blocks, report.dropped, report.unlisted) == (str(into), 0, 0, 0)
    assert contents(path) == before
    assert {how_far.phase for how_far in told} == {"examine", "write"}
    with nori_lsm.open(path, read_only=True) as db, nori_lsm.open(into) as new:
        assert list(new.items()) == list(db.items())
        assert report.entries == len(new) == COUNT - 100 + 1
        assert new.get(key(150)) is None and new[b"expires"] == b"later"
        assert report.sequence == db.stats().sequence == new.stats().sequence
        new[b"more"] = b"can be written"
        assert new.verify().ok
    assert json.loads(json.dumps(report.to_dict()))["entries"] == report.entries


def test_a_damaged_block_loses_its_own_keys_and_says_which(path: Path, into: Path) -> None:
    table = max(path.glob("*.sst"), key=lambda file: file.stat().st_size)
    flip(table, 3000)
    report = nori_lsm.repair(path, into)
    assert not report.ok and report.lost_blocks == 1
    (finding,) = report.findings
    assert isinstance(finding, RepairFinding) and isinstance(finding, Finding)
    assert finding.kind == "block" and finding.path == str(table) and finding.offset is not None
    assert finding.start is not None and finding.stop is not None
    with nori_lsm.open(into) as new:
        for number in range(COUNT):
            if 100 <= number < 200 or finding.start <= key(number) < finding.stop:
                assert key(number) not in new
            else:
                assert new[key(number)] == value(number)


def test_what_may_be_older_than_what_is_lost_is_left_out_unless_it_is_wanted(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "db"
    with nori_lsm.open(path) as db:
        db.update({key(number): b"old" for number in range(50)})
        db.compact()
        for number in range(50):
            db.delete(key(number))
        db.put(key(7), b"new")
        db.flush()
    tables = sorted(path.glob("*.sst"))
    assert len(tables) == 2
    flip(tables[-1], 20)
    report = nori_lsm.repair(path, into)
    assert report.entries == 0 and report.dropped == 50
    (finding,) = report.findings
    assert (finding.start, finding.dropped) == (key(0), 50)
    kept = nori_lsm.repair(path, tmp_path / "kept", doubtful="keep")
    assert kept.entries == 50 and kept.dropped == 0 and not kept.ok
    with nori_lsm.open(tmp_path / "kept") as new:
        assert set(new.values()) == {b"old"}


@pytest.mark.parametrize("lost", ["CURRENT", "MANIFEST"])
def test_without_a_manifest_there_are_the_tables(path: Path, into: Path, lost: str) -> None:
    for file in path.glob(f"{lost}*"):
        file.unlink()
    with pytest.raises(nori_lsm.CorruptionError):
        nori_lsm.open(path)
    report = nori_lsm.repair(path, into)
    assert not report.ok
    assert report.basis == ("manifest" if lost == "CURRENT" else "tables")
    with nori_lsm.open(into) as new:
        assert new[key(0)] == value(0) and key(150) not in new and new[b"expires"] == b"later"
        assert len(new) == COUNT - 100 + 1
        assert new.verify().ok


def test_an_engine_keeps_repair_out_and_repair_keeps_an_engine_out(path: Path, into: Path) -> None:
    with nori_lsm.open(path), pytest.raises(nori_lsm.LockedError):
        nori_lsm.repair(path, into)
    met: list[BaseException] = []

    def try_to_open(_: Progress) -> None:
        try:
            nori_lsm.open(path)
        except nori_lsm.LockedError as error:
            met.append(error)

    nori_lsm.repair(path, into, progress=try_to_open)
    assert met


def test_a_source_that_cannot_be_written_to_is_enough(path: Path, into: Path) -> None:
    (path / "LOCK").unlink()
    folders = [path, path / "wal"]
    for file in path.rglob("*"):
        if file.is_file():
            file.chmod(0o400)
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert nori_lsm.repair(path, into).ok
        assert not (path / "LOCK").exists()
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_what_is_there_is_not_replaced_and_the_source_holds_nothing_new(path: Path, into: Path, tmp_path: Path) -> None:
    before = contents(path)
    into.mkdir()
    with pytest.raises(FileExistsError):
        nori_lsm.repair(path, into)
    with pytest.raises(FileExistsError):
        nori_lsm.repair(path, path)
    (tmp_path / "link").symlink_to(path)
    for inside in (path / "new", path / "wal" / "new", tmp_path / "link" / "new", f"{path}/../db/new"):
        with pytest.raises(ValueError, match="lies in"):
            nori_lsm.repair(path, inside)
    with pytest.raises(FileNotFoundError):
        nori_lsm.repair(tmp_path / "none", tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        nori_lsm.repair(into, tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        nori_lsm.repair(path, tmp_path / "none" / "other")
    assert contents(path) == before
    assert sorted(os.listdir(tmp_path)) == ["db", "link", "new"]


def test_bad_arguments_are_refused(path: Path, into: Path) -> None:
    with pytest.raises(ValueError, match="doubtful"):
        nori_lsm.repair(path, into, doubtful="perhaps")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nori_lsm.repair(path, into, progress=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nori_lsm.repair(path, into, env=1)  # type: ignore[arg-type]
    assert not into.exists()


def test_what_progress_raises_ends_the_repair_and_leaves_nothing(path: Path, into: Path, tmp_path: Path) -> None:
    def stop(how_far: Progress) -> None:
        if how_far.phase == "write":
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        nori_lsm.repair(path, into, progress=stop)
    assert os.listdir(tmp_path) == ["db"]


def test_a_simulated_disk_is_repaired_as_well() -> None:
    disk = SimDisk()
    with nori_lsm.open("/db", env=disk) as db:
        db.update({key(number): value(number) for number in range(100)})
    (table,) = (name for name in disk.list("/db") if name.endswith(".sst"))
    content = bytearray(disk.read_file(f"/db/{table}"))
    content[-1] ^= 1
    disk.write_file(f"/db/{table}", content)
    report = nori_lsm.repair("/db", "/new", env=disk)
    assert [finding.kind for finding in report.findings] == ["footer"]
    assert report.findings[0].start is None and report.lost_blocks == 0
    with nori_lsm.open("/new", env=disk) as new:
        assert len(new) == 100


def tables_of(disk: SimDisk) -> list[str]:
    return sorted(f"/db/{name}" for name in disk.list("/db") if name.endswith(".sst"))


def destroy_end(disk: SimDisk, table: str, count: int) -> None:
    content = disk.read_file(table)
    disk.write_file(table, content[:-count] + bytes(byte ^ 0x5A for byte in content[-count:]))


def test_without_footers_tables_are_read_by_their_directories() -> None:
    """Loaded ones, too, whose sequence only the manifest knows: what is newer stays newer."""
    disk = SimDisk(seed=1)
    with nori_lsm.open("/db", env=disk) as db:
        db.update({key(number): b"old" for number in range(300)})
        db.flush()
        db.ingest((key(number), b"loaded") for number in range(100, 300))
        db.update({key(number): b"new" for number in range(200, 300)})
        db.delete_range(key(0), key(50))
    for table in tables_of(disk):
        destroy_end(disk, table, 96)
    with pytest.raises(nori_lsm.CorruptionError), nori_lsm.open("/db", env=disk, read_only=True) as db:
        db.get(key(250))
    report = nori_lsm.repair("/db", "/new", env=disk)
    assert [finding.kind for finding in report.findings] == ["footer"] * len(tables_of(disk))
    assert len(tables_of(disk)) == 3 and report.lost_blocks == report.dropped == 0
    with nori_lsm.open("/new", env=disk) as new:
        assert dict(new) == {
            key(number): b"old" if number < 100 else b"loaded" if number < 200 else b"new" for number in range(50, 300)
        }


def test_without_footer_and_directory_or_manifest_a_table_is_lost() -> None:
    for count, manifest in ((96 + 13, True), (96, False)):
        disk = SimDisk(seed=1)
        with nori_lsm.open("/db", env=disk) as db:
            db.update({key(number): value(number) for number in range(100)})
        destroy_end(disk, tables_of(disk)[0], count)
        if not manifest:
            for name in [name for name in disk.list("/db") if name.startswith(("CURRENT", "MANIFEST"))]:
                disk.remove_file(f"/db/{name}")
        try:
            report = nori_lsm.repair("/db", "/new", env=disk)
        except nori_lsm.CorruptionError:
            assert not manifest  # Then nothing is left to begin with.
            continue
        assert report.entries == 0 and "footer" in {finding.kind for finding in report.findings}


def test_of_an_edit_that_makes_no_sense_nothing_is_taken() -> None:
    """It pushes a run to level 0 before it names a slot that is not there: of it all or nothing."""
    forge, disk = Forge(), SimDisk(seed=1)
    forge.table(1, [(b"a", 1, b"first")])
    forge.table(2, [(b"b", 2, b"second")])
    good = counters() + b"".join(forge.tables) + push(1, [1])
    forge.manifest_of([good, push(2, [2]) + set_slot(1, b"nowhere", [])])
    forge.put_on(disk)
    report = nori_lsm.repair("/db", "/new", env=disk)
    assert [finding.kind for finding in report.findings] == ["manifest"]
    with nori_lsm.open("/new", env=disk) as new:
        assert dict(new) == {b"a": b"first"}


# ---------------------------------------------------------------- the command line


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nori_lsm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_verify_says_what_is_wrong_by_its_status(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(path)]) == 0
    assert "nothing is wrong" in capfd.readouterr().out
    table = max(path.glob("*.sst"), key=lambda file: file.stat().st_size)
    flip(table, 3000)
    assert cli.main(["verify", str(path)]) == 1
    shown = capfd.readouterr()
    assert str(table) in shown.out and "1 findings" in shown.out and shown.err == ""
    assert cli.main(["verify", "--json", str(path)]) == 1
    assert json.loads(capfd.readouterr().out)["findings"][0]["kind"] == "block"
    table.unlink()
    assert cli.main(["verify", str(path)]) == 2
    assert str(table) in capfd.readouterr().err
    assert cli.main(["verify", str(path / "none")]) == 2


def test_repair_shows_its_report(path: Path, into: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["repair", str(path), str(tmp_path / "whole")]) == 0
    assert "by the manifest" in capfd.readouterr().out
    flip(max(path.glob("*.sst"), key=lambda file: file.stat().st_size), 3000)
    shown = run("repair", path, into)
    assert (shown.returncode, shown.stderr) == (1, "")
    assert "keys from key" in shown.stdout
    assert str(into) in shown.stdout
    shown = run("repair", path, into)
    assert shown.returncode == 2 and "exists" in shown.stderr.lower()
    assert cli.main(["repair", "--json", "--keep-doubtful", str(path), str(tmp_path / "other")]) == 1
    report = json.loads(capfd.readouterr().out)
    assert report["lost_blocks"] == 1 and report["findings"][0]["start"].startswith("key")
