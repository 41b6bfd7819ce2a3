"""Backups: what they hold, what they copy, and what damage, interruption and forged lists cannot do."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import nori_lsm
from nori_lsm import backup as module
from nori_lsm import cli
from nori_lsm.testing import SimDisk

fsspec = pytest.importorskip("fsspec")
FUZZ = Path(__file__).parent / "fuzz"
LISTS = int(os.environ.get("NR_LISTS", "400"))  # To forge.
SMALL: dict[str, Any] = {"memtable__flush_trigger_bytes": 64 << 10, "wal__segment_bytes": 64 << 10, "level1_bytes": 64 << 10}


def fill(db: nori_lsm.Engine, first: int, last: int) -> None:
    for number in range(first, last):
        db[b"%06d" % number] = b"%06d" % number * 20


@pytest.fixture
def db(path: Path) -> Iterator[nori_lsm.Engine]:
    with nori_lsm.open(path, **SMALL) as engine:
        yield engine


@pytest.fixture(params=["directory", "file://", "memory://"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = str(tmp_path / "backups")
    return {"directory": place, "file://": "file://" + place, "memory://": f"memory://{uuid4()}"}[request.param]


def restored(url: str, path: Path, **which: int) -> dict[bytes, bytes]:
    module.restore(url, path, **which)
    with nori_lsm.open(path) as db:
        assert db.verify().ok
        db[b"later"] = b"written"
        return {key: value for key, value in db.items() if key != b"later"}


def only(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith(("backups", "db")))


def test_each_backup_is_the_database_of_its_moment(db: nori_lsm.Engine, url: str, tmp_path: Path) -> None:
    wanted = []
    for turn in range(3):
        fill(db, turn * 2000, turn * 2000 + 3000)
        db.delete_range(b"%06d" % (turn * 1000), b"%06d" % (turn * 1000 + 100))
        wanted.append(dict(db))
        made = module.backup(db, url)
        assert (made.number, made.sequence) == (turn + 1, db.stats().sequence)
    assert [made.number for made in module.backups(url)] == [1, 2, 3]
    for turn in range(3):
        assert restored(url, tmp_path / f"of-{turn}", number=turn + 1) == wanted[turn]
    assert restored(url, tmp_path / "newest") == wanted[-1]
    assert only(tmp_path) == ["newest", "of-0", "of-1", "of-2"]


def test_only_what_is_new_is_read_and_copied(db: nori_lsm.Engine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(db, 0, 20000)
    db.flush()
    first = module.backup(db, url)
    assert first.new_files == first.files and first.new_bytes == first.bytes
    fill(db, 90000, 90010)
    read: list[str] = []
    sums = hashlib.sha256
    monkeypatch.setattr(module.hashlib, "sha256", lambda *data: (read.append(""), sums(*data))[1])
    second = module.backup(db, url)
    # Tables that are there already are not even read; a merge may have made others meanwhile.
    known, stored = {file.name for file in first.contents}, {file.sha256 for file in first.contents}
    others = [file for file in second.contents if file.name not in known or not file.name.endswith(".sst")]
    assert len(others) < second.files
    assert len(read) == len(others) + 2  # And the two lists.
    assert second.new_bytes == sum(file.bytes for file in others if file.sha256 not in stored)


def test_a_database_goes_on_beside_its_backup(db: nori_lsm.Engine, url: str, tmp_path: Path) -> None:
    fill(db, 0, 3000)
    before = dict(db)

    def write(_: nori_lsm.Progress) -> None:
        fill(db, 5000, 5200)
        db.compact()

    seen: list[nori_lsm.Progress] = []
    made = module.backup(db, url, progress=lambda step: (seen.append(step), write(step))[0])
    assert seen[-1].done == seen[-1].total == made.new_bytes and seen[-1].phase == "backup"
    assert restored(url, tmp_path / "copy") == before
    assert len(db) == 3200


@pytest.mark.parametrize("nth", range(8))
def test_what_is_interrupted_is_no_backup_and_the_next_one_is_whole(
    db: nori_lsm.Engine, url: str, tmp_path: Path, nth: int
) -> None:
    fill(db, 0, 1000)
    module.backup(db, url)
    fill(db, 1000, 3000)
    steps = 0

    def stop(_: nori_lsm.Progress) -> None:
        nonlocal steps
        steps += 1
        if steps > nth:
            raise KeyboardInterrupt

    try:
        module.backup(db, url, progress=stop)
    except KeyboardInterrupt:
        assert len(module.backups(url)) == 1
        assert len(restored(url, tmp_path / "first")) == 1000
    assert module.backup(db, url).number == len(module.backups(url))
    assert restored(url, tmp_path / "second") == dict(db)
    assert not [name for name in os.listdir(tmp_path) if ".backup-" in name]


def test_the_list_is_written_when_all_it_names_is_there(
    db: nori_lsm.Engine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(store: Any, made: module.Backup) -> None:
        present = store.present()
        assert all(present[file.sha256] == file.bytes for file in made.contents)
        looked.append(made.number)

    looked: list[int] = []
    monkeypatch.setattr(module._Store, "write", look)
    fill(db, 0, 3000)
    module.backup(db, url)
    assert looked == [1]


def test_names_are_on_disk_before_the_list_and_the_list_before_it_returns(
    db: nori_lsm.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "new" / "backups"
    happened: list[Path] = []
    replace, sync = os.replace, module._sync_directory
    monkeypatch.setattr(module.os, "replace", lambda a, b: (replace(a, b), happened.append(Path(b))))
    monkeypatch.setattr(module, "_sync_directory", lambda path: (sync(path), happened.append(path)))
    for number in (1, 2):  # The second finds names that an interrupted one may have left unsynced.
        happened.clear()
        module.backup(db, str(place))
        listed = happened.index(place / "backups" / f"{number:06}")
        before, behind = happened[:listed], happened[listed + 1 :]
        stored = max((at for at, path in enumerate(before) if path.parent.name == "files"), default=-1)
        assert place / "files" in before[stored + 1 :]
        assert {place / "backups", place, tmp_path / "new"} <= {*behind}
        assert number == 2 or tmp_path in happened


def test_a_file_that_was_cut_off_is_copied_again(db: nori_lsm.Engine, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    fill(db, 0, 3000)
    made = module.backup(db, str(place))
    largest = max(made.contents, key=lambda file: file.bytes)
    os.truncate(place / "files" / largest.sha256, largest.bytes // 2)
    assert module.backup(db, str(place)).new_files >= 1
    assert restored(str(place), tmp_path / "copy") == dict(db)


@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "missing"])
def test_damage_is_found_and_nothing_is_left(db: nori_lsm.Engine, tmp_path: Path, how: str) -> None:
    place, target = tmp_path / "backups", tmp_path / "copy"
    fill(db, 0, 3000)
    for file in module.backup(db, str(place)).contents:
        stored = place / "files" / file.sha256
        data = stored.read_bytes()
        changed = {"flipped": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "longer": data + b"\0"}.get(how)
        if changed is None:
            stored.unlink()
        else:
            stored.write_bytes(changed)
        with pytest.raises(nori_lsm.CorruptionError) as caught:
            module.restore(str(place), target)
        assert caught.value.kind == "backup" and file.sha256 in str(caught.value.path)
        stored.write_bytes(data)
    assert only(tmp_path) == []
    assert restored(str(place), target) == dict(db)


def test_a_damaged_list_stops_its_own_restore_and_no_later_backup(db: nori_lsm.Engine, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    fill(db, 0, 1000)
    module.backup(db, str(place))
    listed = place / "backups" / "000001"
    data = listed.read_bytes()
    for at in random.Random(1).sample(range(len(data)), 60):
        listed.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        with pytest.raises((nori_lsm.CorruptionError, nori_lsm.FormatError)):
            module.restore(str(place), tmp_path / "copy")
    listed.write_bytes(data[:-1])
    assert module.backup(db, str(place)).number == 2
    assert restored(str(place), tmp_path / "copy") == dict(db)
    with pytest.raises(nori_lsm.CorruptionError):
        module.backups(str(place))


def test_what_a_later_version_made_is_refused(db: nori_lsm.Engine, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    module.backup(db, str(place))
    listed = place / "backups" / "000001"
    listed.write_bytes(b"nori_lsm backup 2 whatever comes\n")
    for use in (lambda: module.restore(str(place), tmp_path / "copy"), lambda: module.backup(db, str(place))):
        with pytest.raises(nori_lsm.FormatError, match="version 2"):
            use()
    assert only(tmp_path) == []


def relisted(place: Path, values: Any) -> None:
    text = json.dumps(values).encode()
    head = b"nori_lsm backup 1 " + hashlib.sha256(text).hexdigest().encode() + b"\n"
    (place / "backups" / "000001").write_bytes(head + text)


NAMES = ["../outside", "/outside", "wal/../../outside", "wal", "", ".", "..", "CURRENT\n", "wal\\000001.log", "LOCK", "x.sst"]
NAMES += ["\0", "000001.sst/../../outside", "٠٠٠٠٠١.sst", "wal/000001.log/", "C:000001.sst", "-000001.sst"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_outside(db: nori_lsm.Engine, tmp_path: Path, name: str) -> None:
    place = tmp_path / "backups"
    values = module.backup(db, str(place)).to_dict()
    values["contents"][0]["name"] = name
    relisted(place, values)
    with pytest.raises(nori_lsm.CorruptionError):
        module.restore(str(place), tmp_path / "copy")
    assert only(tmp_path) == []


ODD = [None, True, -1, 0, 1, 1 << 63, 1 << 200, 0.5, float("nan"), "", "x", [], {}, [[]], {"a": 1}, "0" * 64, "A" * 64]


def test_lists_with_changes_under_right_checksums_do_no_harm(db: nori_lsm.Engine, tmp_path: Path) -> None:
    place, numbers = tmp_path / "backups", random.Random(2)
    fill(db, 0, 1000)
    values = module.backup(db, str(place)).to_dict()
    whole = dict(db)
    refused = 0
    for turn in range(LISTS):
        changed = json.loads(json.dumps(values))
        at: Any = numbers.choice([changed, changed, *changed["contents"]])
        key = numbers.choice([*at, "other"])
        if numbers.random() < 0.2:
            at.pop(key, None)
        elif numbers.random() < 0.2:
            changed = numbers.choice(ODD)
        else:
            at[key] = numbers.choice([*ODD, values["contents"][:2], values["contents"] * 2])
        relisted(place, changed)
        target = tmp_path / f"copy-{turn}"
        try:
            module.restore(str(place), target)
        except nori_lsm.CorruptionError as error:
            refused += 1
            assert error.filename and not target.exists()
            continue
        with nori_lsm.open(target, wal__durability="os") as copy:  # What it says of time, or of what was new, has no consequence.
            assert dict(copy) == whole
        shutil.rmtree(target)
    assert refused > LISTS / 2
    assert only(tmp_path) == []


def test_kept_inputs_of_the_fuzzer() -> None:
    spec = importlib.util.spec_from_file_location("fuzz_backup", FUZZ / "fuzz_backup.py")
    assert spec and spec.loader
    fuzzer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzzer)
    kept = {path.name: path.read_bytes() for path in (FUZZ / "corpus" / "backup").iterdir()}
    for data in kept.values():
        fuzzer.try_input(data)
    assert fuzzer.try_list(kept["whole"]) and fuzzer.try_list(fuzzer.seal(kept["tables"]))


def test_prune_keeps_what_it_is_to_keep(db: nori_lsm.Engine, url: str, tmp_path: Path) -> None:
    wanted = {}
    for number in range(1, 6):
        fill(db, number * 1000, number * 1000 + 1500)
        db.compact()
        module.backup(db, url)
        wanted[number] = dict(db)
    files, root = fsspec.core.url_to_fs(url)
    before = len(files.ls(f"{root}/files"))
    assert module.prune(url, keep=2) == [1, 2, 3]
    assert len(files.ls(f"{root}/files")) < before
    assert module.prune(url, keep=9) == []
    for number in (4, 5):
        assert restored(url, tmp_path / f"of-{number}", number=number) == wanted[number]
    with pytest.raises(FileNotFoundError, match="no backup 3"):
        module.restore(url, tmp_path / "gone", number=3)
    with pytest.raises(ValueError, match="keep is 0"):
        module.prune(url, keep=0)


def test_prune_removes_nothing_where_a_list_is_damaged(db: nori_lsm.Engine, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    for _ in range(3):
        module.backup(db, str(place))
    (place / "backups" / "000002").write_bytes(b"nothing")
    before = sorted(path.name for path in place.rglob("*"))
    with pytest.raises(nori_lsm.CorruptionError):
        module.prune(str(place), keep=2)
    assert sorted(path.name for path in place.rglob("*")) == before


def test_what_is_there_is_not_replaced(db: nori_lsm.Engine, tmp_path: Path) -> None:
    url = str(tmp_path / "backups")
    with pytest.raises(FileNotFoundError, match="no backup"):
        module.restore(url, tmp_path / "copy")
    module.backup(db, url)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "folder", "link", "db"):
        with pytest.raises(FileExistsError):
            module.restore(url, tmp_path / name)
    assert only(tmp_path) == ["file", "folder", "link"]
    with pytest.raises(FileNotFoundError):
        module.restore(url, tmp_path / "no" / "parent")


def test_engines_that_are_no_files_and_closed_ones_are_refused(path: Path, tmp_path: Path) -> None:
    with nori_lsm.open("/simulated", env=SimDisk(seed=1)) as db, pytest.raises(ValueError, match="not on a file system"):
        module.backup(db, str(tmp_path / "backups"))
    db = nori_lsm.open(path)
    db.close()
    with pytest.raises(nori_lsm.ClosedError):
        module.backup(db, str(tmp_path / "backups"))
    assert only(tmp_path) == []


def test_without_fsspec_the_extra_is_named(
    db: nori_lsm.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ImportError, match=r"nori-lsm\[backup\]"):
        module.backup(db, str(tmp_path / "backups"))


def test_the_command_line(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, copy = str(tmp_path / "backups"), str(tmp_path / "copy")
    with nori_lsm.open(path) as db:
        fill(db, 0, 100)
    assert cli.main(["backup", str(path), url]) == 0
    assert capsys.readouterr().out.startswith("backup 1, of sequence 100: ")
    assert cli.main(["backup", str(path), url, "--keep", "1"]) == 0
    assert [made.number for made in module.backups(url)] == [2]
    assert cli.main(["restore", url, copy]) == 0
    assert cli.main(["get", copy, "000042"]) == 0
    assert cli.main(["restore", url, copy]) == 1
    assert cli.main(["restore", url, copy + "2", "--number", "1"]) == 1
    assert cli.main(["backup", str(tmp_path / "none"), url]) == 1
    assert "no backup 1" in capsys.readouterr().err
