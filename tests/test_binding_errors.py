"""The exception classes, and what raises them."""

from __future__ import annotations

import copy
import errno
import pickle

import pytest

import nori_lsm

OS_ERRORS = [
    nori_lsm.LockedError,
    nori_lsm.ReadOnlyError,
    nori_lsm.CorruptionError,
    nori_lsm.FormatError,
    nori_lsm.StaleError,
    nori_lsm.PoisonedError,
    nori_lsm.BackpressureError,
]


@pytest.mark.parametrize("kind", OS_ERRORS)
def test_os_errors_are_both(kind):
    error = kind(5, "text", "file")
    assert isinstance(error, nori_lsm.Error) and isinstance(error, OSError)
    assert (error.errno, error.strerror, error.filename) == (5, "text", "file")
    assert error.outcome is None
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and again.args == error.args


def test_bases():
    assert issubclass(nori_lsm.ClosedError, ValueError) and issubclass(nori_lsm.ClosedError, nori_lsm.Error)
    assert issubclass(nori_lsm.BackpressureError, TimeoutError)
    assert issubclass(nori_lsm.ForkedError, nori_lsm.Error) and not issubclass(nori_lsm.ForkedError, OSError)
    assert nori_lsm.Error.__module__ == "nori_lsm"


def test_corruption_error_of_a_text():
    error = nori_lsm.CorruptionError("damaged")
    assert (error.path, error.offset, error.kind) == (None, None, None)
    assert str(error) == "damaged"


def test_a_second_opener_is_told(db):
    with pytest.raises(nori_lsm.LockedError) as caught:
        nori_lsm.open(db.path)
    assert caught.value.errno == errno.EAGAIN and caught.value.filename
    with pytest.raises(nori_lsm.LockedError):
        nori_lsm.open(db.path, wait=0.2)
    with pytest.raises(ValueError):
        nori_lsm.open(db.path, wait=-1)


def test_open_says_what_is_there_and_what_not(path):
    with pytest.raises(FileNotFoundError) as caught:
        nori_lsm.open(path, create=False)
    assert caught.value.errno == errno.ENOENT and caught.value.filename
    with pytest.raises(FileNotFoundError):
        nori_lsm.open(path, read_only=True)
    nori_lsm.open(path).close()
    with pytest.raises(FileExistsError):
        nori_lsm.open(path, exist_ok=False)


def test_corruption_has_path_offset_and_kind(path):
    with nori_lsm.open(path) as db:
        db.update((b"%06d" % i, bytes(100)) for i in range(5000))
        db.flush()
    (table,) = path.glob("*.sst")
    content = bytearray(table.read_bytes())
    content[1000] ^= 1
    table.write_bytes(content)
    with nori_lsm.open(path) as db:
        with pytest.raises(nori_lsm.CorruptionError) as caught:
            list(db)
        error = caught.value
        assert error.errno == errno.EBADMSG
        assert error.path.endswith(".sst") and error.filename == error.path
        assert isinstance(error.offset, int) and error.kind
        report = db.verify()
        assert not report.ok and report.findings[0].path.endswith(".sst")


def test_engines_and_their_children_refuse_pickle_and_copy(db):
    for thing in (db, db.snapshot(), db.batch(), db.scan(), iter(db), db.keys(), db.values(), db.items()):
        for how in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle or copy"):
                how(thing)


def test_options_are_checked_in_one_place():
    from nori_lsm import _core

    pairs = _core.default_options()
    assert _core.check_options(pairs) == pairs
    assert dict(_core.check_options([("l0.max_files", "20")]))["l0.max_files"] == "20"
    for bad in ([("nonsense", "1")], [("fanout", "0")], [("l0.max_files", "1")]):
        with pytest.raises(ValueError, match=bad[0][0]):
            _core.check_options(bad)
    for bad in ([("fanout", 3)], ["ab"], 3):
        with pytest.raises(TypeError):
            _core.check_options(bad)


def test_closed_engines_keep_what_is_theirs(path):
    db = nori_lsm.open(path)
    snapshot, scan, batch, keys = db.snapshot(), db.scan(), db.batch(), db.keys()
    db.close()
    db.close()
    db.shutdown()
    assert db.closed and db.path == str(path) and db.config.fanout == 10 and not db.read_only
    assert "closed" in repr(db) and db._repr_html_()
    for use in (
        lambda: db[b"a"],
        lambda: db.put(b"a", b""),
        lambda: b"a" in db,
        lambda: len(db),
        lambda: bool(db),
        lambda: iter(db),
        lambda: db.get_many([b"a"]),
        lambda: db.update({}),
        db.keys,
        db.batch,
        db.snapshot,
        db.scan,
        db.stats,
        db.slots,
        db.sync,
        db.flush,
        db.compact,
        db.verify,
        db.popitem,
        db.clear,
        db.estimate_len,
        db.__enter__,
        lambda: snapshot[b"a"],
        lambda: len(snapshot),
        lambda: next(scan),
        scan.count,
        lambda: batch.put(b"a", b""),
        batch.commit,
        lambda: list(keys),
    ):
        with pytest.raises(nori_lsm.ClosedError):
            use()
    scan.close()
    snapshot.close()


def test_exit_chains_its_error(disk):
    with pytest.raises(OSError) as caught:
        with nori_lsm.open("/db", env=disk) as db:
            db[b"a"] = b""
            disk.stop_at(1)
            raise KeyError("mine")
    assert db.closed
    assert isinstance(caught.value.__context__, KeyError)
