"""Databases that engines of each version of the formats wrote (golden/make.py): every later engine, and the reader that is
independent of it, find all that is in them. What a later version wrote is refused before anything is touched."""

from __future__ import annotations

import errno
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xxhash")

import nori_lsm
from forge import current_of
from nori_lsm import inspect
from nori_lsm.inspect._bytes import checksum

GOLDEN = Path(__file__).parent / "golden"
ARCHIVES = sorted(GOLDEN.glob("v*/*.tar.gz"))
NAMES = [f"{archive.parent.name}-{archive.name.partition('.')[0]}" for archive in ARCHIVES]
# What the databases of version 1 show together.
FEATURES = {"HEAT", "blocks none", "blocks lz4", "blocks zstd", "entry 0", "entry 1", "entry 2", "filter bloom", "filter ribbon"}
FEATURES |= {"guards", "levels 3", "log", "range tombstones", "records without a head", "shared tables", "stamped"}
FEATURES |= {"keys counted", "versions counted"}


def unpack(archive: Path, path: Path) -> dict[str, Any]:
    """The directory; what is expected of it."""
    expected: dict[str, Any] = {}
    path.mkdir(mode=0o700)
    (path / "wal").mkdir(mode=0o700)
    with tarfile.open(archive) as files:
        for entry in files:
            content = files.extractfile(entry)
            if content is None:
                continue
            if entry.name == "expected.json":
                expected = json.load(io.TextIOWrapper(content, "utf-8"))
            else:
                (path / entry.name.removeprefix("db/")).write_bytes(content.read())
    (path / "LOCK").touch()
    expected["items"] = {key.encode(): value.encode() for key, value in expected["items"].items()}
    return expected


def state(path: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """All that can be seen of a directory."""
    found = {}
    for file in [path, *path.rglob("*")]:
        status = file.stat()
        found[str(file)] = (status.st_mtime_ns, status.st_mode, file.read_bytes() if file.is_file() else None)
    return found


@pytest.mark.parametrize("archive", ARCHIVES, ids=NAMES)
def test_a_golden_database_opens_and_holds_what_it_held(path: Path, archive: Path) -> None:
    expected = unpack(archive, path)
    items = expected["items"]
    before = state(path)
    database = inspect.read_database(path)
    assert database.pairs() == items and database.sequence == expected["sequence"]
    database.check()
    with nori_lsm.open(path, read_only=True) as db:
        assert dict(db) == items and list(db) == sorted(items)
        assert list(reversed(db)) == sorted(items, reverse=True)
        assert db.get_many(list(items)) == list(items.values())
        assert db.stats().sequence == expected["sequence"]
        assert db.verify().ok
    assert state(path) == before
    with nori_lsm.open(path) as db:
        assert dict(db) == items and db.verify().ok
        assert all(db[key] == value for key, value in items.items())
        db[b"key-new"] = items[b"key-new"] = b"new"
        del db[min(items)]
        del items[min(items)]
        db.flush()
        db.compact()
        assert dict(db) == items and db.verify().ok
    assert inspect.read_database(path).pairs() == items
    with nori_lsm.open(path) as db:
        assert dict(db) == items


def test_golden_databases_have_all_that_there_is(tmp_path: Path) -> None:
    found: set[str] = set()
    for archive, name in zip(ARCHIVES, NAMES, strict=True):
        found |= {*unpack(archive, tmp_path / name)["features"]}
    assert found >= FEATURES


# ---------------------------------------------------------------- later versions


def resealed(data: bytes, offset: int, at: int, size: int, value: int) -> bytes:
    """A file whose header says something else of itself."""
    head = bytearray(data[offset : offset + 96])
    head[at : at + size] = value.to_bytes(size, "little")
    head[88:] = checksum(bytes(head[:88]), int.from_bytes(head[:8], "little")).to_bytes(8, "little")
    return data[:offset] + bytes(head) + data[offset + 96 :]


@pytest.fixture
def killed(path: Path) -> dict[bytes, bytes]:
    return unpack(GOLDEN / "v1" / "killed.tar.gz", path)["items"]


def file_of(path: Path, kind: str) -> Path:
    """One that is read, whatever else is."""
    database = inspect.read_database(path)
    if kind == "manifest":
        return path / database.manifest.path
    if kind == "segment":
        return path / database.log.commits[-1].path
    return path / f"{min(database.tree.table_numbers):06d}.sst"


def expect_refusal(path: Path, *, read_only: bool) -> None:
    before = state(path)
    with pytest.raises(nori_lsm.FormatError) as caught:
        nori_lsm.open(path, read_only=read_only)
    assert caught.value.errno == errno.EINVAL and caught.value.filename
    assert state(path) == before


VERSIONS = [0, 2, 3, 1 << 31, (1 << 32) - 1]


@pytest.mark.parametrize("kind", ["manifest", "segment"])
def test_later_versions_and_unknown_features_are_refused_untouched(path: Path, killed: dict[bytes, bytes], kind: str) -> None:
    file = file_of(path, kind)
    data = file.read_bytes()
    known = {"manifest": 0, "segment": 2}[kind]
    said = [(8, 4, version) for version in VERSIONS] + [(16, 8, 1 << bit) for bit in range(64) if 1 << bit != known]
    for at, size, value in said:
        file.write_bytes(resealed(data, 0, at, size, value))
        for read_only in (True, False):
            expect_refusal(path, read_only=read_only)
        with pytest.raises(nori_lsm.FormatError):
            inspect.read_database(path).pairs()
    file.write_bytes(data)
    with nori_lsm.open(path) as db:
        assert dict(db) == killed


def test_unknown_write_features_refuse_writers_alone(path: Path, killed: dict[bytes, bytes]) -> None:
    file = file_of(path, "manifest")
    data = file.read_bytes()
    for bit in range(64):
        file.write_bytes(resealed(data, 0, 24, 8, 1 << bit))
        expect_refusal(path, read_only=False)
        before = state(path)
        with nori_lsm.open(path, read_only=True) as db:
            assert len(db) == len(killed)
        assert state(path) == before


def test_a_later_current_is_refused_untouched(path: Path, killed: dict[bytes, bytes]) -> None:
    data = (path / "CURRENT").read_bytes()
    for text in (b"nori 2 MANIFEST-000001 ", b"nori 2 something else ", b"nori 10 MANIFEST-000001 ", b"nori x "):
        (path / "CURRENT").write_bytes(current_of(text))
        for read_only in (True, False):
            expect_refusal(path, read_only=read_only)
    (path / "CURRENT").write_bytes(data)
    with nori_lsm.open(path) as db:
        assert dict(db) == killed


def test_a_later_heat_is_passed_over(path: Path, killed: dict[bytes, bytes]) -> None:
    data = (path / "HEAT").read_bytes()
    for at, size, value in [(8, 4, 2), *((16, 8, 1 << bit) for bit in range(64))]:
        (path / "HEAT").write_bytes(resealed(data, 0, at, size, value))
        with nori_lsm.open(path, read_only=True) as db:
            assert len(db) == len(killed)


def test_a_later_table_is_refused_where_it_is_read_and_stays_as_it_is(path: Path, killed: dict[bytes, bytes]) -> None:
    """Tables are opened when they are read; a table's own bytes are never changed."""
    file = file_of(path, "table")
    data = file.read_bytes()
    end = len(data) - 96
    for at, size, value in [(8, 4, 0), (8, 4, 2), *((16, 8, 1 << bit) for bit in range(1, 64))]:
        changed = resealed(data, end, at, size, value)
        file.write_bytes(changed)
        before = state(path)
        with nori_lsm.open(path, read_only=True) as db:
            for read in (lambda db: dict(db), lambda db: db.get_many(list(killed))):
                with pytest.raises(nori_lsm.FormatError) as caught:
                    read(db)
                assert caught.value.errno == errno.EINVAL and caught.value.filename
            assert not db.verify().ok
        assert state(path) == before
    with nori_lsm.open(path) as db:
        with pytest.raises(nori_lsm.FormatError):
            dict(db)
        db[b"key-new"] = b"new"
        db.flush()
    assert file.read_bytes() == changed
    file.write_bytes(data)
    with nori_lsm.open(path) as db:
        assert dict(db) == {**killed, b"key-new": b"new"}
