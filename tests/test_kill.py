"""kill -9 of a real process: whatever a writer was told is done is there, batches are whole, and nothing is invented."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import nori_lsm

ROUNDS = 20
WRITERS = 4
BATCH_SIZE = 5
ACKNOWLEDGEMENT = struct.Struct("<BI")  # writer, number of its write: less than PIPE_BUF, so whole in a pipe

CHILD = """
import os, struct, sys, threading
sys.path[:0] = sys.argv[4:]
import nori_lsm, test_kill

db = nori_lsm.open(sys.argv[1], wal__mapped=sys.argv[2] == "mapped", wal__segment_bytes=1 << 20,
                   memtable__flush_trigger_bytes=256 << 10, level1_bytes=1 << 20, table_bytes=256 << 10)
firsts = [int(text) for text in sys.argv[3].split(",")]

def write(writer, number):
    while True:
        test_kill.write(db, writer, number)
        os.write(1, test_kill.ACKNOWLEDGEMENT.pack(writer, number))
        number += 1

for writer, first in enumerate(firsts):
    threading.Thread(target=write, args=[writer, first]).start()
"""


def entries(writer: int, number: int) -> list[tuple[bytes, bytes]]:
    """What a write puts follows from its number; every third is a batch."""
    digest = hashlib.sha256(b"%d:%d" % (writer, number)).digest() * 4
    parts = BATCH_SIZE if number % 3 == 0 else 1
    return [(b"w%d:%08d:%d" % (writer, number, part), digest + bytes([part])) for part in range(parts)]


def write(db: nori_lsm.Engine, writer: int, number: int) -> None:
    items = entries(writer, number)
    if len(items) == 1:
        db.put(*items[0], sync=number % 50 == 1)
        return
    with db.batch() as batch:
        for key, value in items:
            batch.put(key, value)
        batch.put(b"newest:%d" % writer, b"%d" % number)


def run_until_killed(path: Path, log: str, firsts: list[int], seconds: float) -> list[int]:
    """The number of the last write that each writer was told is done; one less than its first if none."""
    acknowledged = [first - 1 for first in firsts]
    source = [str(Path(nori_lsm.__file__).parents[1]), str(Path(__file__).parent)]
    command = [sys.executable, "-c", CHILD, str(path), log, ",".join(map(str, firsts)), *source]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        pipe = child.stdout

        def keep() -> None:
            while record := pipe.read(ACKNOWLEDGEMENT.size):
                if len(record) == ACKNOWLEDGEMENT.size:
                    writer, number = ACKNOWLEDGEMENT.unpack(record)
                    assert number == acknowledged[writer] + 1
                    acknowledged[writer] = number

        keeper = threading.Thread(target=keep)
        keeper.start()
        while acknowledged == [first - 1 for first in firsts] and child.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        keeper.join()
    return acknowledged


def check(db: nori_lsm.Engine, writer: int, acknowledged: int) -> int:
    """Everything acknowledged is there, at most one write more, whole; the number of the next write."""
    expected = [item for number in range(acknowledged + 1) for item in entries(writer, number)]
    found = list(db.scan(prefix=b"w%d:" % writer))
    assert found[: len(expected)] == expected
    beyond = found[len(expected) :]
    assert beyond in ([], entries(writer, acknowledged + 1)), "a write that was never made, or a part of one"
    next_number = acknowledged + (2 if beyond else 1)
    if next_number > 0:
        assert db[b"newest:%d" % writer] == b"%d" % ((next_number - 1) // 3 * 3)
    return next_number


@pytest.mark.parametrize("log", ["mapped", "written"])
def test_what_a_killed_process_was_told_is_there(path: Path, log: str) -> None:
    delays = random.Random(log)
    firsts = [0] * WRITERS
    for _ in range(ROUNDS // 2):
        acknowledged = run_until_killed(path, log, firsts, delays.uniform(0.0, 0.4))
        with nori_lsm.open(path, create=False) as db:
            firsts = [check(db, writer, last) for writer, last in enumerate(acknowledged)]
            report = db.verify()
            assert report.ok, report.findings
    assert min(firsts) > ROUNDS
