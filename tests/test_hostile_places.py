"""What stands in the place of a database's files: links, pipes, sockets, devices, directories, files without end. Opening ends,
with an error that says what is there, or without it; and nothing outside of the directory is touched."""

from __future__ import annotations

import errno
import faulthandler
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nori_lsm

SMALL: dict[str, Any] = {"memtable__flush_trigger_bytes": 64 << 10, "wal__segment_bytes": 64 << 10}
FILES = ["CURRENT", "LOCK", "MANIFEST-*", "*.sst", "wal", "wal/*.log", "HEAT", "CURRENT.tmp", "HEAT.tmp"]
NEEDED = FILES[:6]  # The others may be missing, and what stands there instead counts as that.
LINKS = ["symlink", "symlink to a directory", "dangling symlink", "hard link"]
OTHERS = ["fifo", "socket", "directory", "full directory", "device"]
# A log without a segment, and one whose segment is somebody's text, are logs that an orderly close leaves: nothing that is left
# says that there was more.
LOGS_OF_NOTHING = [("wal", "directory"), ("wal", "full directory"), ("wal/*.log", "hard link")]


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """A hang ends the whole run, and says where."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


class Outside:
    """Files that are none of the database's business."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder, self.file = path / "folder", path / "file"
        self.folder.mkdir(parents=True)
        self.file.write_bytes(b"precious" * 1000)
        self.file.chmod(0o644)
        (self.folder / "inner").write_bytes(b"precious")
        self.before = self.look()

    def look(self) -> dict[str, Any]:
        seen = {}
        for file in [self.path, *self.path.rglob("*")]:
            status = file.lstat()
            content = file.read_bytes() if stat.S_ISREG(status.st_mode) else None
            seen[str(file)] = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns, status.st_ino, content)
        return seen

    def check(self) -> None:
        assert self.look() == self.before


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path / "outside")


def make(path: Path) -> dict[bytes, bytes]:
    """A database of all kinds of files, its last write in the log alone."""
    with nori_lsm.open(path.with_name("origin"), **SMALL) as db:
        items = {b"%06d" % number: b"%d" % number * 20 for number in range(1000)}
        db.update(items)
        db.compact()
        db.put(b"unflushed", b"", sync=True)
        db.checkpoint(path)
    (path / "HEAT").write_bytes(path.with_name("origin").joinpath("HEAT").read_bytes())
    (path / "LOCK").touch(0o600)
    items[b"unflushed"] = b""
    return items


def plant(place: Path, how: str, outside: Outside) -> None:
    """Puts something in the place of what is there."""
    if place.is_dir():
        place.rename(place.with_name(place.name + ".aside"))
    elif place.exists():
        place.unlink()
    if how == "symlink":
        place.symlink_to(outside.file)
    elif how == "symlink to a directory":
        place.symlink_to(outside.folder)
    elif how == "dangling symlink":
        place.symlink_to(outside.path / "nothing")
    elif how == "hard link":
        os.link(outside.file, place)
    elif how == "fifo":
        os.mkfifo(place)
    elif how == "socket":
        here = os.getcwd()
        with socket.socket(socket.AF_UNIX) as end:
            os.chdir(place.parent)  # Names of sockets are short.
            try:
                end.bind(place.name)
            finally:
                os.chdir(here)
    elif how == "device":
        try:
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: without end.
        except PermissionError:
            pytest.skip("devices are for root")
    else:
        place.mkdir()
        if how == "full directory":
            (place / "inner").write_bytes(b"")


@pytest.mark.parametrize("how", LINKS + OTHERS)
@pytest.mark.parametrize("what", FILES)
def test_what_is_no_file_of_ours_is_refused_or_passed_over(path: Path, outside: Outside, what: str, how: str) -> None:
    items = make(path)
    plant(min(path.glob(what), default=path / what), how, outside)
    if (what, how) in LOGS_OF_NOTHING:
        del items[b"unflushed"]
    for options in ({"read_only": True}, {}):
        try:
            with nori_lsm.open(path, **options) as db:
                assert dict(db) == items
                if not db.read_only:
                    db[b"new"] = b"value"
                    db.flush()
                    db.compact()
        except nori_lsm.ReadOnlyError:
            raise
        except OSError as error:
            assert error.errno and error.filename, error
            # A directory cannot be made way for: it is not ours to empty.
            assert what in NEEDED or "directory" in how, error
            assert what != "LOCK" or not options  # Who only reads takes no lock.
        else:
            is_lock = what == "LOCK" and (options or how == "hard link")
            assert what not in NEEDED or is_lock or (what, how) in LOGS_OF_NOTHING, (what, how)
        outside.check()


@pytest.mark.parametrize("how", [*LINKS, "fifo", "full directory"])
def test_what_stands_where_the_next_files_go_is_gone_around(path: Path, outside: Outside, how: str) -> None:
    items = make(path)
    last = max(int(file.name.split(".")[0]) for file in path.glob("*.sst"))
    manifest = max(int(file.name.split("-")[1]) for file in path.glob("MANIFEST-*"))
    segment = max(int(file.name.split(".")[0]) for file in path.glob("wal/*.log"))
    for number in range(max(last, manifest) + 1, max(last, manifest) + 6):
        plant(path / f"{number:06d}.sst", how, outside)
        plant(path / f"MANIFEST-{number + 1:06d}", how, outside)
    if how in ("symlink", "dangling symlink"):
        plant(path / "wal" / f"{segment + 1:06d}.log", how, outside)
        with pytest.raises(OSError):
            nori_lsm.open(path)
        (path / "wal" / f"{segment + 1:06d}.log").unlink()
    with nori_lsm.open(path) as db:
        db[b"new"] = items[b"new"] = b""
        db.flush()
        db.compact()
        assert dict(db) == items
        db.checkpoint(path.with_name("copy"))
    outside.check()
    with nori_lsm.open(path.with_name("copy")) as db:
        assert dict(db) == items


def test_links_to_files_outside_are_no_files_to_recycle(path: Path, outside: Outside) -> None:
    """Segments that others may hold are not written over: neither spares nor used ones of an earlier session."""
    items = make(path)
    for number in range(100, 110):
        os.link(outside.file, path / "wal" / f"{number:06d}.log")
    with nori_lsm.open(path, **SMALL) as db:
        for number in range(3000):
            db[b"%06d" % number] = items[b"%06d" % number] = bytes(100)
        assert dict(db) == items
    outside.check()


@pytest.mark.parametrize("what", ["CURRENT", "MANIFEST-*", "*.sst", "HEAT"])
def test_files_of_a_tebibyte_of_nothing_take_no_memory(path: Path, what: str) -> None:
    items = make(path)
    os.truncate(min(path.glob(what)), (1 << 40) if what != "MANIFEST-*" else 64 << 20)
    before = peak_bytes()
    for options in ({"read_only": True}, {}):
        try:
            with nori_lsm.open(path, **options) as db:
                assert dict(db) == items
            assert what in ("MANIFEST-*", "HEAT")
        except nori_lsm.CorruptionError:
            assert what in ("CURRENT", "*.sst")
    assert peak_bytes() - before < 128 << 20


def peak_bytes() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@pytest.mark.parametrize("what", ["MANIFEST-*", "wal/*.log"])
def test_a_file_without_end_is_read_until_ctrl_c(path: Path, what: str) -> None:
    """Records are looked for up to a file's physical end. Whoever waits for that may stop waiting."""
    items = make(path)
    file = min(path.glob(what))
    size = file.stat().st_size
    os.truncate(file, 1 << 43)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        for options in ({"read_only": True}, {}):
            begun = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                nori_lsm.open(path, **options)
            assert time.monotonic() - begun < 20
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    os.truncate(file, size)
    with nori_lsm.open(path) as db:
        assert dict(db) == items


def test_a_fifo_with_a_writer_is_not_waited_for(path: Path) -> None:
    make(path)
    (path / "CURRENT").unlink()
    os.mkfifo(path / "CURRENT")
    both = os.open(path / "CURRENT", os.O_RDWR)  # So that there is a writer, who writes nothing.
    try:
        for options in ({"read_only": True}, {}):
            with pytest.raises(OSError) as caught:
                nori_lsm.open(path, **options)
            assert caught.value.errno == errno.EINVAL and caught.value.filename == str(path / "CURRENT")
    finally:
        os.close(both)
