"""What a caller is told when the disk, the files or the arguments are bad; and that all is as before once they are not."""

from __future__ import annotations

import errno
import os
import resource
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import pytest

import nori_lsm
from nori_lsm.testing import SimDisk

SMALL = {
    "memtable__flush_trigger_bytes": 64 << 10,
    "level1_bytes": 128 << 10,
    "table_bytes": 32 << 10,
    "wal__segment_bytes": 64 << 10,
}


def fill(db: nori_lsm.Engine, count: int = 2_000) -> dict[bytes, bytes]:
    items = {b"%06d" % number: b"%d" % number * 20 for number in range(count)}
    for key, value in items.items():
        db[key] = value
    return items


# ---------------------------------------------------------------- reads that fail


@pytest.mark.parametrize("nth", [1, 2, 5])
def test_a_read_that_fails_is_never_absence_and_never_kept(disk: SimDisk, nth: int) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        items = fill(db)
        db.compact()
    reads = [
        lambda db: db[b"001000"],
        lambda db: db.get(b"001000"),
        lambda db: b"001000" in db,
        lambda db: db.get_many(list(items)),
        lambda db: dict(db.scan()),
        lambda db: list(reversed(db)),
        len,
        lambda db: db.scan(b"000500").count(),
        lambda db: db == items,
        lambda db: db.pop(b"001000", None) and None,
        lambda db: dict(db.snapshot()),
    ]
    for read in reads:
        with nori_lsm.open("/db", env=disk, **SMALL) as db:
            disk.fail("read", nth, errno.EIO)
            try:
                first: object = read(db)
            except OSError as error:
                assert error.errno == errno.EIO and error.filename
                first = None
            disk.clear_faults()
            second = read(db)
            assert first is None or first == second
            assert db.setdefault(b"001000", items[b"001000"]) == items[b"001000"]
            assert dict(db) == items
            assert not db.stats().poisoned


def test_a_short_read_is_an_error_or_resumed_and_never_half_of_it(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        items = fill(db)
        db.flush()
        for nth in range(1, 30):
            disk.fail("read", nth, errno.EIO, short=True)
            with suppress(OSError):
                db.compact()
                assert dict(db) == items
            disk.clear_faults()
            disk.advance(60)
            assert not db.stats().poisoned
        db.compact()
        assert dict(db) == items and db.verify().ok


@pytest.mark.parametrize("op", ["read", "open", "list", "open_dir", "lock", "create", "write", "sync", "dir_sync", "rename"])
def test_an_open_that_fails_leaves_the_database_as_it_was(disk: SimDisk, op: str) -> None:
    db = nori_lsm.open("/db", env=disk, **SMALL, wal__durability="sync")
    items = fill(db, 700)
    disk.kill()
    with suppress(OSError):
        db.close()
    assert op in disk.op_names, disk.op_names
    failures = 0
    for nth in range(1, 40):
        disk.fail(op, nth, errno.EIO)
        try:
            db = nori_lsm.open("/db", env=disk, **SMALL)
        except OSError as error:
            failures += 1
            assert error.errno == errno.EIO, error
            assert not isinstance(error, nori_lsm.CorruptionError)
            disk.clear_faults()
            continue
        disk.clear_faults()
        assert dict(db) == items
        disk.kill()
        with suppress(OSError):
            db.close()
        if failures:
            break
    assert failures
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == items
        assert db.verify().ok


# ---------------------------------------------------------------- a full disk


def no_space(disk: SimDisk, count: int = 400) -> None:
    for op in ("create", "write", "log_reserve", "mkdir"):
        for nth in range(1, count):
            disk.fail(op, nth, errno.ENOSPC)


def test_a_full_disk_then_space_again(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk, **SMALL, pressure__stall_timeout_secs=0.5)
    items = fill(db, 300)
    no_space(disk)
    refused = None
    for number in range(4_000):
        key, value = b"more%06d" % number, bytes(100)
        try:
            db[key] = value
        except (OSError, nori_lsm.BackpressureError) as error:
            refused = error
            break
        items[key] = value
    assert refused is not None and refused.outcome == "not_applied", refused
    assert isinstance(refused, nori_lsm.BackpressureError) or refused.errno == errno.ENOSPC
    assert dict(db) == items and not db.stats().poisoned
    disk.clear_faults()
    disk.advance(60)
    db[b"after"] = b"there is space"
    items[b"after"] = b"there is space"
    db.flush()
    db.compact()
    assert dict(db) == items
    db.close()
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == items
        assert db.verify().ok


def put_until_refused(db: nori_lsm.Engine, items: dict[bytes, bytes]) -> OSError:
    for number in range(4_000):
        key, value = b"more%06d" % number, bytes(100)
        try:
            db[key] = value
        except (OSError, nori_lsm.BackpressureError) as error:
            return error
        items[key] = value
    pytest.fail("never full")


@pytest.mark.parametrize("mapped", [True, False])
def test_a_full_disk_refuses_puts_and_takes_deletes_until_there_is_space(disk: SimDisk, mapped: bool) -> None:
    """A spare segment of the log is kept for them."""
    with nori_lsm.open("/db", env=disk, wal__segment_bytes=64 << 10, wal__mapped=mapped) as db:
        items = fill(db, 1_000)
        no_space(disk)
        refused = put_until_refused(db, items)
        assert (refused.errno, refused.outcome) == (errno.ENOSPC, "not_applied")
        mixed = db.batch()
        mixed.delete(b"000000")
        mixed.put(b"new", bytes(1_000))
        for write in (
            lambda: db.put(b"new", bytes(1_000)),
            lambda: db.put(b"new", bytes(1_000), sync=True),
            lambda: db.put(b"new", bytes(100_000)),
            lambda: db.setdefault(b"new", bytes(1_000)),
            mixed.commit,
        ):
            with pytest.raises(OSError) as caught:
                write()
            assert (caught.value.errno, caught.value.outcome) == (errno.ENOSPC, "not_applied")
        assert dict(db) == items
        for key in list(items)[:400]:
            db.delete(key, sync=key.endswith(b"0"))
            del items[key]
        assert db.pop(b"000400") == items.pop(b"000400")
        batch = db.batch()
        for key in list(items)[:50]:
            batch.delete(key)
            del items[key]
        batch.commit()
        db.delete_range(b"0005", b"0006")
        items = {key: value for key, value in items.items() if not b"0005" <= key < b"0006"}
        with pytest.raises(OSError):
            db.put(b"new", b"")
        assert dict(db) == items and not db.stats().poisoned
        disk.clear_faults()
        items.update(fill(db, 2_000))
        db.flush()
        db.compact()
        assert dict(db) == items
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == items
        assert db.verify().ok


def test_a_full_disk_loses_no_delete_with_the_power(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk, wal__segment_bytes=64 << 10)
    items = fill(db, 500)
    no_space(disk)
    put_until_refused(db, items)
    for key in list(items)[:200]:
        db.delete(key)
        del items[key]
    db.sync()
    disk.crash()
    with suppress(OSError):
        db.close()
    disk.clear_faults()
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == items


def test_writers_that_stall_on_a_full_disk_still_delete(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk, **{**SMALL, "wal__segment_bytes": 64 << 20}, pressure__stall_timeout_secs=0.5) as db:
        items = fill(db, 300)
        for nth in range(1, 2_000):
            disk.fail("write", nth, errno.ENOSPC)
        refused = None
        for number in range(40_000):
            try:
                db[b"more%06d" % number] = bytes(100)
            except nori_lsm.BackpressureError as error:
                refused = error
                break
            items[b"more%06d" % number] = bytes(100)
        assert refused is not None
        for key in list(items)[:100]:
            db.delete(key)
            del items[key]
        with pytest.raises(nori_lsm.BackpressureError):
            db[b"new"] = b""
        assert dict(db) == items and not db.stats().poisoned
        disk.clear_faults()
        disk.advance(60)
        db[b"new"] = items[b"new"] = b""
        db.flush()
        assert dict(db) == items
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == items


@pytest.mark.parametrize("op", ["write", "create"])
def test_a_flush_without_space_poisons_nothing_and_goes_on(disk: SimDisk, op: str) -> None:
    """Whatever cannot be written: the table, the manifest's record or its mark, another manifest."""
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        items = {}
        for nth in range(1, 12):
            for key in (b"a%d" % nth, b"b%d" % nth):
                db[key] = items[key] = bytes(100)
            for later in range(nth, nth + 4):
                disk.fail(op, later, errno.ENOSPC)
            for _ in range(3):
                with suppress(OSError):
                    db.flush()
                assert not db.stats().poisoned
            disk.clear_faults()
            disk.advance(60)
            db.flush()
            assert dict(db) == items
        db.compact()
        assert len([name for name in disk.list("/db") if name.endswith(".sst")]) < 10
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == items
        assert db.verify().ok


@pytest.mark.parametrize("op", ["create", "write", "log_reserve"])
def test_open_on_a_full_disk_says_so_and_changes_nothing(disk: SimDisk, op: str) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        items = fill(db, 500)
    before = {name: disk.read_file("/db/" + name) for name in disk.list("/db") if name != "wal"}
    for nth in range(1, 300):
        disk.fail(op, nth, errno.ENOSPC)
    with pytest.raises(OSError) as caught:
        nori_lsm.open("/db", env=disk, fanout=7)  # Another option than before: there is a manifest to write.
    assert caught.value.errno == errno.ENOSPC and caught.value.filename
    assert {name: disk.read_file("/db/" + name) for name in before} == before
    with nori_lsm.open("/db", env=disk, read_only=True) as db:
        assert dict(db) == items
    disk.clear_faults()
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == items


# ---------------------------------------------------------------- tables that cannot be written


@pytest.mark.parametrize("op", ["create", "write", "sync"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_table_that_fails_is_written_again_and_poisons_nothing(disk: SimDisk, op: str, code: int) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        items = fill(db, 200)
        disk.fail(op, 1, code)
        with suppress(OSError):
            db.flush()
        disk.clear_faults()
        assert not db.stats().poisoned
        db[b"later"] = b""
        items[b"later"] = b""
        disk.advance(60)
        db.flush()
        db.compact()
        assert dict(db) == items
        names = [name for name in disk.list("/db") if name.endswith(".sst")]
        assert db.verify().ok
    with nori_lsm.open("/db", env=disk) as db:
        assert dict(db) == items
        # An open unlinks tables that nothing names: there was none.
        assert [name for name in disk.list("/db") if name.endswith(".sst")] == names


@pytest.mark.parametrize("op", ["write", "sync", "create", "link", "mkdir", "rename", "dir_sync"])
def test_a_checkpoint_is_complete_or_absent(disk: SimDisk, op: str) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        items = fill(db, 500)
        for nth in range(1, 30):
            disk.fail(op, nth, errno.ENOSPC)
            try:
                db.checkpoint(f"/copy{nth}")
            except OSError as error:
                assert error.errno == errno.ENOSPC
                disk.clear_faults()
                assert disk.list("/") == ["db"]
                continue
            disk.clear_faults()
            with nori_lsm.open(f"/copy{nth}", env=disk, create=False) as copy:
                assert dict(copy) == items
            break
        else:
            pytest.fail("never made")
        with pytest.raises(FileExistsError):
            db.checkpoint(f"/copy{nth}")
        assert db.stats().poisoned is None
        assert dict(db) == items


# ---------------------------------------------------------------- files that are not there, not ours, not right


def make(path: Path, **overrides: object) -> dict[bytes, bytes]:
    with nori_lsm.open(path, **{**SMALL, **overrides}) as db:
        items = fill(db, 1_000)
        db.compact()
        db[b"in the log"] = b"1"
        items[b"in the log"] = b"1"
    return items


def listing(path: Path) -> list[tuple[str, int]]:
    return sorted((str(name), name.lstat().st_size) for name in path.rglob("*") if name.name != "LOCK")


def newest_manifest(path: Path) -> Path:
    return max(path.glob("MANIFEST-*"))


@pytest.mark.parametrize("which", ["CURRENT", "MANIFEST"])
@pytest.mark.parametrize("how", ["missing", "empty", "garbage", "directory"])
def test_a_missing_current_or_manifest_beside_data_is_corruption(path: Path, which: str, how: str) -> None:
    make(path)
    file = path / "CURRENT" if which == "CURRENT" else newest_manifest(path)
    content = file.read_bytes()
    file.unlink()
    if how == "directory":
        file.mkdir()
    elif how != "missing":
        file.write_bytes(b"" if how == "empty" else b"x" * len(content))
    before = listing(path)
    for options in ({}, {"read_only": True}, {"create": False}):
        with pytest.raises(OSError) as caught:
            nori_lsm.open(path, **options)
        if how != "directory":
            assert isinstance(caught.value, nori_lsm.CorruptionError)
            assert caught.value.errno == errno.EBADMSG and caught.value.path
    assert listing(path) == before
    if how == "directory":
        file.rmdir()
    file.write_bytes(content)
    with nori_lsm.open(path) as db:
        assert b"in the log" in db


def test_a_missing_table_is_corruption_and_not_absence(path: Path) -> None:
    items = make(path)
    for table in path.glob("*.sst"):
        table.rename(table.with_suffix(".gone"))
    for read in (dict, len, lambda db: db[b"000001"], lambda db: b"000001" in db, lambda db: db.get_many([b"000001"])):
        with pytest.raises(OSError), nori_lsm.open(path) as db:
            read(db)
    for table in path.glob("*.gone"):
        table.rename(table.with_suffix(".sst"))
    with nori_lsm.open(path) as db:
        assert dict(db) == items


def test_files_that_are_not_ours_are_never_touched(path: Path) -> None:
    path.mkdir()
    others = ["notes.txt", "000001.sst.bak", "1.sst", "MANIFEST-1", "LOCK.old", "wal.txt", "CURRENT~", "0000001.sst"]
    for name in others:
        (path / name).write_text(name)
    (path / "sub").mkdir()
    make(path)
    (path / "wal" / "readme").write_text("wal")
    make(path)
    assert {name: (path / name).read_text() for name in others} == {name: name for name in others}
    assert (path / "wal" / "readme").read_text() == "wal" and (path / "sub").is_dir()


@contextmanager
def replaced(file: Path, how: str) -> Iterator[None]:
    aside = file.with_name(file.name + ".aside")
    file.rename(aside)
    if how == "symlink":
        file.symlink_to(aside.name)
    elif how == "fifo":
        os.mkfifo(file)
    else:
        file.mkdir()
    try:
        yield
    finally:
        file.rmdir() if how == "directory" else file.unlink()
        aside.rename(file)


@pytest.mark.parametrize(
    ("what", "how"),
    [
        *product(["CURRENT", "MANIFEST-*", "*.sst", "wal/*.log"], ["symlink", "fifo", "directory"]),
        *product(["wal"], ["symlink", "fifo"]),  # It is a directory.
    ],
)
def test_what_is_no_file_in_a_file_s_place_is_an_error_and_no_hang(path: Path, what: str, how: str) -> None:
    items = make(path)
    with nori_lsm.open(path, wal__segment_bytes=64 << 10) as db:
        db.put(b"unflushed", b"", sync=True)
        db.checkpoint(path.with_name("copy"))  # Its log holds the last write.
    path = path.with_name("copy")
    items[b"unflushed"] = b""
    file = min(path.glob(what))
    with replaced(file, how):
        with pytest.raises(OSError), nori_lsm.open(path) as db:
            dict(db)
        with pytest.raises(OSError), nori_lsm.open(path, read_only=True) as db:
            dict(db)
    with nori_lsm.open(path) as db:
        assert dict(db) == items


@pytest.mark.parametrize("how", ["symlink", "fifo", "directory"])
def test_a_lock_that_is_no_file(path: Path, tmp_path: Path, how: str) -> None:
    make(path)
    target = tmp_path / "target"
    target.write_text("precious")
    with replaced(path / "LOCK", how):
        with pytest.raises(OSError):
            nori_lsm.open(path)
    assert target.read_text() == "precious"
    nori_lsm.open(path).close()


def test_the_path_may_be_a_symlink_and_the_lock_is_the_same(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    make(path)
    link.symlink_to(path.name)
    with nori_lsm.open(link) as db:
        assert b"in the log" in db
        for other in (path, link, path / ".." / path.name):
            with pytest.raises(nori_lsm.LockedError):
                nori_lsm.open(other)


@pytest.mark.parametrize("place", ["missing parent", "file", "below a file", "too long", "null"])
def test_paths_that_cannot_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("content")
    where, kind = {
        "missing parent": (tmp_path / "no" / "db", FileNotFoundError),
        "file": (tmp_path / "file", NotADirectoryError),
        "below a file": (tmp_path / "file" / "db", NotADirectoryError),
        "too long": (tmp_path / ("x" * 300), OSError),
        "null": ("a\0b", ValueError),
    }[place]
    with pytest.raises(kind) as caught:
        nori_lsm.open(where)
    if isinstance(caught.value, OSError):
        assert caught.value.errno and caught.value.filename
    assert [name.name for name in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "content"


def test_modes_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        make(path)
    finally:
        os.umask(old)
    modes = {name: stat.S_IMODE(name.stat().st_mode) for name in [path, *path.rglob("*")]}
    assert set(modes.values()) == {0o600, 0o700}
    assert all(mode == (0o700 if name.is_dir() else 0o600) for name, mode in modes.items())


# ---------------------------------------------------------------- formats of the future


def renewed(header: bytearray) -> bytes:
    (magic,) = struct.unpack_from("<Q", header)
    return bytes(header[:88]) + xxh3_64(bytes(header[:88]), magic)


def xxh3_64(data: bytes, seed: int) -> bytes:
    """The system's library, which the engine itself needs."""
    import ctypes
    import ctypes.util

    name = ctypes.util.find_library("xxhash")
    if not name:
        pytest.skip("no shared libxxhash")
    function = ctypes.CDLL(name).XXH3_64bits_withSeed
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return struct.pack("<Q", function(data, len(data), seed))


@pytest.mark.parametrize("what", ["manifest", "table", "segment"])
@pytest.mark.parametrize("field", ["version", "read_features"])
def test_a_newer_format_is_refused_as_such(path: Path, what: str, field: str) -> None:
    make(path)
    with nori_lsm.open(path) as db:
        db.put(b"unflushed", b"", sync=True)
        db.checkpoint(path.with_name("copy"))
    path = path.with_name("copy")
    file = {"manifest": newest_manifest(path), "table": min(path.glob("*.sst")), "segment": max(path.glob("wal/*.log"))}[what]
    content = file.read_bytes()
    at = len(content) - 96 if what == "table" else 0
    header = bytearray(content[at : at + 96])
    struct.pack_into("<I" if field == "version" else "<Q", header, 8 if field == "version" else 16, 2 if field == "version" else 1 << 40)
    file.write_bytes(content[:at] + renewed(header) + content[at + 96 :])
    before = listing(path)
    for read_only in (True, False):
        with pytest.raises(nori_lsm.FormatError) as caught, nori_lsm.open(path, read_only=read_only) as db:
            dict(db)
        assert caught.value.errno == errno.EINVAL and caught.value.filename
    if what != "table":
        assert listing(path) == before
    file.write_bytes(content)
    with nori_lsm.open(path) as db:
        assert b"unflushed" in db


def test_unknown_write_features_allow_reading_alone(path: Path) -> None:
    items = make(path)
    file = newest_manifest(path)
    content = file.read_bytes()
    header = bytearray(content[:96])
    struct.pack_into("<Q", header, 24, 1 << 40)
    file.write_bytes(renewed(header) + content[96:])
    with pytest.raises(nori_lsm.FormatError) as caught:
        nori_lsm.open(path)
    assert caught.value.errno == errno.EINVAL
    with nori_lsm.open(path, read_only=True) as db:
        assert dict(db) == items


# ---------------------------------------------------------------- too many open files


def take_descriptors() -> list[int]:
    """All that are left. A thread in the background may give some back right after."""
    taken = []
    with suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    return taken


def open_error_without_descriptors(path: Path, opened: list[int]) -> OSError:
    for _ in range(20):
        opened += take_descriptors()
        try:
            nori_lsm.open(path).close()
        except OSError as error:
            return error
    raise AssertionError("there were descriptors every time")


def test_too_many_open_files_and_then_some_free(path: Path) -> None:
    with nori_lsm.open(path, **{**SMALL, "table_bytes": 16 << 10}) as db:
        items = fill(db, 20_000)
        db.compact()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    try:
        with nori_lsm.open(path) as db:
            tables = len(list(path.glob("*.sst")))
            assert tables > 15
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, hard))
            try:
                assert dict(db) == items  # The table cache gives its own back first.
                assert db.get_many(list(items)) == list(items.values())
            except OSError as error:
                assert error.errno == errno.EMFILE
            opened = take_descriptors()
            for _ in range(2):
                try:
                    found = dict(db)
                except OSError as error:
                    assert error.errno == errno.EMFILE
                else:
                    assert found == items
                assert open_error_without_descriptors(path.with_name("other"), opened).errno == errno.EMFILE
            for descriptor in opened:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            db[b"after"] = b""
            items[b"after"] = b""
            assert dict(db) == items
            db.flush()
            db.compact()
            assert dict(db) == items
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with nori_lsm.open(path) as db:
        assert dict(db) == items
        assert db.verify().ok


# ---------------------------------------------------------------- read-only


def test_gets_that_filters_deny_give_descriptors_back(path: Path) -> None:
    """Each opens a table and reads no block; nobody works in the background of an engine that only reads."""
    small = {"memtable__flush_trigger_bytes": 16 << 10, "table_bytes": 64 << 10, "level1_bytes": 64 << 10}
    keys = [b"%08d" % (i * 7919 % 40_000) for i in range(40_000)]
    with nori_lsm.open(path, **small, l1_slot_count=1) as db:
        for key in keys:
            db[key] = b"v" * 60
        db.compact()
    assert len(list(path.glob("*.sst"))) > 10
    with nori_lsm.open(path, read_only=True, resources__max_open_files=4) as db:
        before = len(os.listdir("/dev/fd"))
        for i, key in enumerate(keys[:2_000]):
            assert db.get(key + b"x") is None
            if i % 50 == 0:
                assert len(os.listdir("/dev/fd")) <= before + 4 + 32


def test_a_read_only_engine_writes_nothing(path: Path) -> None:
    items = make(path)
    copy = path.with_name("copy")
    with nori_lsm.open(path) as db:
        db.put(b"unflushed", b"1", sync=True)
        items[b"unflushed"] = b"1"
        db.checkpoint(copy)
        with nori_lsm.open(path, read_only=True) as reader:
            assert dict(reader) == items  # Beside the writer.
    before = {name: (name.stat().st_mtime_ns, name.stat().st_size) for name in [copy, *copy.rglob("*")]}
    with nori_lsm.open(copy, read_only=True) as one, nori_lsm.open(copy, read_only=True) as two:
        assert dict(one) == dict(two) == items
        for use in (one.flush, one.compact, one.sync, lambda: one.checkpoint(path.with_name("no"))):
            with suppress(nori_lsm.Error):
                use()
        assert one.verify().ok
    assert {name: (name.stat().st_mtime_ns, name.stat().st_size) for name in [copy, *copy.rglob("*")]} == before
    assert not path.with_name("no").exists()


def test_a_read_only_engine_on_a_directory_that_cannot_be_written(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    items = make(path)
    path.chmod(0o500)
    try:
        with nori_lsm.open(path, read_only=True) as db:
            assert dict(db) == items
        with pytest.raises(PermissionError):
            nori_lsm.open(path)
    finally:
        path.chmod(0o700)
