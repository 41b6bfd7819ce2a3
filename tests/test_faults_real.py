"""Faults of the operating system itself, not of a simulated disk: limits of a process, a file system that is full or read-only,
missing permissions. FAULTS.md says which test stands for which row of the table of faults.

Each runs in a process of its own, since limits and users do not come back. Where a mount is not allowed the test is skipped."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import nori_lsm

HEAD = """
import errno, os, resource, signal, sys
import nori_lsm
path = sys.argv[1]
SMALL = {"memtable__flush_trigger_bytes": 64 << 10, "wal__segment_bytes": 64 << 10, "level1_bytes": 64 << 10,
         "pressure__stall_timeout_secs": 1.0}

def fill(db, count, size=100):
    items = {b"%06d" % number: bytes([number % 256]) * size for number in range(count)}
    db.update(items)
    return items

def until_refused(db, items, size=1000, **options):
    for number in range(100_000):
        key = b"more%06d" % number
        try:
            db.put(key, bytes(size), **options)
        except (OSError, MemoryError) as error:
            return error
        items[key] = bytes(size)
    raise AssertionError("never refused")

def flush(db):
    # One that was under way when there was no space may still tell of it.
    for _ in range(20):
        try:
            return db.flush()
        except OSError as error:
            assert error.errno in (errno.ENOSPC, errno.EFBIG), error
    raise AssertionError("there is space, and no flush")

def limit(what, bytes_):
    resource.setrlimit(what, (bytes_, resource.getrlimit(what)[1]))
"""


def run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", HEAD + textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(nori_lsm.__file__).parents[1])}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "none", str(place)]
    try:
        result = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if result.returncode != 0:
        pytest.skip(f"no right to mount: {result.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_files_that_may_not_grow_are_a_full_disk(path: Path) -> None:
    """RLIMIT_FSIZE: the last write before it is short, the next fails with EFBIG. Nothing is lost, and it goes on later."""
    run(
        """
        db = nori_lsm.open(path, wal__mapped=True, **{**SMALL, "memtable__flush_trigger_bytes": 1 << 20})
        items = fill(db, 1000)
        limit(resource.RLIMIT_FSIZE, 40_000)  # Less than a segment, and than the table of these.
        refused = until_refused(db, items)
        assert isinstance(refused, OSError) and refused.outcome == "not_applied", refused
        try:
            db.flush()
        except OSError as error:
            assert error.errno in (errno.EFBIG, errno.ENOSPC), error
        assert dict(db) == items and db.stats().poisoned is None
        limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
        db[b"after"] = items[b"after"] = b""
        flush(db)
        assert dict(db) == items and db.verify().ok
        db.close()
        with nori_lsm.open(path) as db:
            assert dict(db) == items
        """,
        path,
    )


def test_a_short_write_to_the_log_poisons_and_loses_nothing(path: Path) -> None:
    """A segment that has its blocks already, and may not be written beyond the limit: half a record is there."""
    run(
        """
        db = nori_lsm.open(path, wal__mapped=False, wal__segment_bytes=1 << 20)
        items = fill(db, 100)
        limit(resource.RLIMIT_FSIZE, 100_001)
        refused = until_refused(db, items)
        assert isinstance(refused, OSError) and refused.errno == errno.EFBIG, refused
        assert refused.outcome == "indeterminate" and db.stats().poisoned
        limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
        found = dict(db)
        assert {**found, **items} == found and len(found) <= len(items) + 1
        try:
            db[b"more"] = b""
        except nori_lsm.PoisonedError as error:
            assert error.errno == errno.EFBIG and error.filename
        else:
            raise AssertionError("not poisoned")
        try:
            db.close()
        except nori_lsm.PoisonedError:
            pass
        with nori_lsm.open(path) as db:
            assert dict(db) == items and db.verify().ok
        """,
        path,
    )


@pytest.mark.parametrize("mapped", [True, False])
def test_a_file_system_that_is_full_and_has_space_again(tmpfs: Path, mapped: bool) -> None:
    run(
        """
        ballast = os.path.join(os.path.dirname(path), "ballast")
        db = nori_lsm.open(path, wal__mapped=sys.argv[2] == "True", **SMALL)
        items = fill(db, 1000)
        db.flush()
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
        refused = until_refused(db, items)
        assert refused.outcome == "not_applied", refused
        assert isinstance(refused, nori_lsm.BackpressureError) or refused.errno == errno.ENOSPC, refused
        try:
            db.flush()
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
        else:
            raise AssertionError("there was space for a table")
        assert db.stats().poisoned is None
        for key in list(items)[:500]:
            db.delete(key)  # A spare segment is kept for these.
            del items[key]
        assert dict(db) == items and db.stats().poisoned is None
        os.unlink(ballast)
        db[b"after"] = items[b"after"] = b""
        flush(db)
        assert dict(db) == items and db.verify().ok
        db.close()
        with nori_lsm.open(path, **SMALL) as db:
            assert dict(db) == items
        """,
        tmpfs / "db",
        mapped,
    )


def test_a_full_file_system_is_opened_by_readers_alone_and_untouched(tmpfs: Path) -> None:
    run(
        """
        with nori_lsm.open(path, **SMALL) as db:
            items = fill(db, 1000)
        ballast = os.path.join(os.path.dirname(path), "ballast")
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        names = sorted(os.listdir(path))
        try:
            nori_lsm.open(path, **SMALL)
        except OSError as error:
            assert error.errno == errno.ENOSPC and error.filename, error
        else:
            raise AssertionError("there was space")
        assert sorted(os.listdir(path)) == names
        with nori_lsm.open(path, read_only=True) as db:
            assert dict(db) == items
        os.unlink(ballast)
        with nori_lsm.open(path, **SMALL) as db:
            assert dict(db) == items
        """,
        tmpfs / "db",
    )


def test_a_read_only_mount_is_read(tmpfs: Path) -> None:
    path = tmpfs / "db"
    with nori_lsm.open(path, wal__segment_bytes=64 << 10) as db:
        db[b"a"] = b"1"
        db.checkpoint(tmpfs / "copy")
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    try:
        for place in (path, tmpfs / "copy"):
            with nori_lsm.open(place, read_only=True) as db:
                assert dict(db) == {b"a": b"1"} and db.verify().ok
            with pytest.raises(OSError) as caught:
                nori_lsm.open(place)
            assert caught.value.filename and not isinstance(caught.value, nori_lsm.CorruptionError)
        with pytest.raises(OSError):
            nori_lsm.open(tmpfs / "new")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(tmpfs)], check=True)
    with nori_lsm.open(path, wal__segment_bytes=64 << 10) as db:
        assert dict(db) == {b"a": b"1"}


def test_permissions_that_are_missing_are_told(tmp_path: Path) -> None:
    """As another user, if this one may become one: root is refused nothing."""
    run(
        """
        import stat
        base = path
        os.chmod(base, 0o755)
        for parent in [base, *(os.path.dirname(base)[: at] for at, c in enumerate(base) if c == "/" and at)]:
            try:
                os.chmod(parent, os.stat(parent).st_mode | 0o755)
            except OSError:
                pass
        where = os.path.join(base, "db")
        if os.geteuid() == 0:
            os.mkdir(os.path.join(base, "own"), 0o777)
            os.chmod(os.path.join(base, "own"), 0o777)
            where = os.path.join(base, "own", "db")
            os.setgid(65534)
            os.setuid(65534)
        try:
            db = nori_lsm.open(where, **SMALL)
        except PermissionError:
            print("skipped: the directories above are closed to others")
            sys.exit()
        items = fill(db, 1000)
        db.compact()
        db.close()
        table = os.path.join(where, min(name for name in os.listdir(where) if name.endswith(".sst")))
        current = os.path.join(where, "CURRENT")

        def refused(call):
            try:
                call()
            except PermissionError as error:
                assert error.filename and error.errno == errno.EACCES, error
                return
            raise AssertionError("not refused")

        for file in (table, current, where):
            mode = stat.S_IMODE(os.stat(file).st_mode)
            os.chmod(file, 0)
            for read_only in (True, False):
                refused(lambda: nori_lsm.open(where, read_only=read_only))
            os.chmod(file, mode)
        os.chmod(where, 0o500)
        refused(lambda: nori_lsm.open(where))
        with nori_lsm.open(where, read_only=True) as db:
            assert dict(db) == items
        os.chmod(where, 0o700)
        with nori_lsm.open(where) as db:
            assert dict(db) == items
            os.chmod(where, 0o500)  # While it is open: tables cannot be made.
            try:
                until_refused(db, items)
            finally:
                os.chmod(where, 0o700)
            assert dict(db) == items and db.stats().poisoned is None
        with nori_lsm.open(where) as db:
            assert dict(db) == items and db.verify().ok
        """,
        tmp_path,
    )


def test_without_address_space_writes_fail_and_go_on_later(path: Path) -> None:
    run(
        """
        db = nori_lsm.open(path, wal__mapped=False, memtable__flush_trigger_bytes=512 << 20)
        items = fill(db, 1000)
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        limit(resource.RLIMIT_AS, now + (24 << 20))
        refused = None
        for number in range(1000):
            key = b"large%06d" % number
            try:
                db.put(key, bytes([number % 256]) * 300_000)
            except MemoryError as error:
                refused = error
                break
            items[key] = None
        assert refused is not None and getattr(refused, "outcome", "not_applied") == "not_applied"
        assert key not in db
        limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
        assert set(db) == set(items) and db.stats().poisoned is None
        db.flush()
        db.close()
        with nori_lsm.open(path) as db:
            assert set(db) == set(items) and db.verify().ok
            for key, value in items.items():
                assert db[key] == (value if value is not None else bytes([int(key[5:]) % 256]) * 300_000)
        """,
        path,
    )


def test_the_lock_of_a_killed_process_goes_though_its_child_lives(path: Path) -> None:
    """The child's copy of the lock's descriptor is closed at the fork, not when the parent gives the lock back."""
    run(
        """
        parent = os.fork()
        if parent == 0:
            db = nori_lsm.open(path)
            db[b"a"] = b"1"
            ready, told = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(told, b"x")
                signal.pause()
            os.read(ready, 1)
            with open(path + "-child", "w") as file:
                file.write(str(child))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(parent, 0)
        child = int(open(path + "-child").read())
        try:
            os.kill(child, 0)  # It lives.
            with nori_lsm.open(path) as db:
                assert db[b"a"] == b"1"
        finally:
            os.kill(child, signal.SIGKILL)
        """,
        path,
    )
