"""The tour: the main job, on real input, with every claim counted.

It stores the standard library of the running interpreter: `f:<path>` -> content, and `w:<word>:<path>` -> how often
the word occurs there. It reads that back, deletes under a snapshot, kills a writer, recovers, reads one letter's words
hot, and shows what became of it all. A claim that does not hold fails the tour.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import nori_lsm
from nori_lsm import _tour_writer
from nori_lsm._terminal import ProgressBar, format_bytes, format_key, format_table
from nori_lsm._tour_corpus import find_files, read_text, words_of

__all__ = ["Tour", "run"]

# Small parts, so that a database of some 50 MB grows the levels and slots of a large one.
OVERRIDES: dict[str, Any] = {
    "memtable__flush_trigger_bytes": 4 << 20,
    "level1_bytes": 8 << 20,
    "l1_slot_count": 8,
    "table_bytes": 2 << 20,
}
MARKER = ".nori-lsm-tour"
BATCH_BYTES = 1 << 20
SAMPLED_FILES = 300
SAMPLED_WORDS = 40
COUNTED_WORDS = (b"class", b"import", b"lambda", b"return", b"self", b"yield")
RANGE_LETTER, SINGLES_LETTER, HOT_LETTER = b"q", b"z", b"s"
HOT_READS = 200_000
WRITES_BEFORE_KILL = 100_000
SECONDS_BEFORE_KILL = 20.0
SLOTS_SHOWN_PER_LEVEL = 16


class TourFailed(Exception):
    """A claim of the tour did not hold."""


def check(holds: bool, claim: str) -> None:
    if not holds:
        raise TourFailed(claim)


@contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """A part of the tour; what it calls with a text becomes its line."""
    lines: list[str] = []
    started = time.perf_counter()
    yield lines.append
    print(f"{title:<10} {time.perf_counter() - started:5.1f} s  {lines[0]}")
    for line in lines[1:]:
        print(f"{'':<10} {'':>7}  {line}")
    sys.stdout.flush()


def prepare_directory(path: str | None, keep: bool) -> str:
    """The directory of the tour, empty but for its marker. Only what a tour left is ever replaced."""
    if path is None:
        path = tempfile.mkdtemp(prefix="nori-lsm-tour-")
    path = os.path.abspath(path)
    if os.path.exists(path) and os.listdir(path):
        if not os.path.exists(os.path.join(path, MARKER)):
            raise FileExistsError(f"{path} is not empty, and no tour made it")
        if keep:
            raise FileExistsError(f"{path} holds the database of an earlier tour, which is to be kept")
        shutil.rmtree(path)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, MARKER), "w", encoding="ascii") as file:
        file.write("Made by nori-lsm tour; the next tour into this directory replaces it.\n")
    return path


class Tour:
    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, "db")
        self.root, self.files = find_files()
        self.stored: list[str] = []  # Paths of text files, in the order stored.
        self.files_with_word: Counter[bytes] = Counter()
        self.keys_by_letter: Counter[bytes] = Counter()
        self.key_count = 0
        self.random = random.Random(11)

    def run(self) -> None:
        with nori_lsm.open(self.path, exist_ok=False, **OVERRIDES) as db:
            self.load(db)
            self.read_points(db)
            self.read_prefixes(db)
            self.delete_under_snapshot(db)
            self.settle(db)
            loaded = db.stats()
        acknowledged = self.kill_writer()
        started = time.perf_counter()
        with nori_lsm.open(self.path, create=False) as db:
            self.check_recovered(db, acknowledged, time.perf_counter() - started)
            reads = self.read_hot(db)
            self.verify(db)
            show_tree(db)
            show_amplification(loaded, reads, db.stats())

    def load(self, db: nori_lsm.Engine) -> None:
        total = sum(size for _, size in self.files)
        done = put_bytes = 0
        batch = db.batch()
        pending = 0
        started = time.perf_counter()
        with step("load") as say, ProgressBar("load", total) as bar:
            for path, size in self.files:
                done += size
                content = read_text(self.root, path)
                if content is None:
                    continue
                pending += self.put_file(batch, path, content)
                if pending >= BATCH_BYTES:
                    batch.commit()
                    put_bytes += pending
                    pending = 0
                bar.update(done)
            batch.commit()
            put_bytes += pending
            seconds = time.perf_counter() - started
            check(len(db) == self.key_count, f"all {self.key_count} keys that were put are there")
            say(f"{len(self.stored):,} text files of {self.root}")
            rate = self.key_count / seconds
            say(f"{self.key_count:,} keys, {format_bytes(put_bytes)}: {rate:,.0f} keys/s, reading the files included")

    def put_file(self, batch: nori_lsm.Batch, path: str, content: bytes) -> int:
        name = os.fsencode(path)
        words = words_of(content)
        batch.put(b"f:" + name, content)
        put_bytes = 2 + len(name) + len(content)
        for word, count in words.items():
            key, value = b"w:%s:%s" % (word, name), b"%d" % count
            batch.put(key, value)
            put_bytes += len(key) + len(value)
            self.keys_by_letter[word[:1]] += 1
        self.files_with_word.update(words.keys())
        self.key_count += 1 + len(words)
        self.stored.append(path)
        return put_bytes

    def read_points(self, db: nori_lsm.Engine) -> None:
        found = missing = 0
        spent = 0.0
        with step("points") as say:
            for path in self.random.sample(self.stored, min(SAMPLED_FILES, len(self.stored))):
                content = read_text(self.root, path)
                name = os.fsencode(path)
                check(content is not None and db[b"f:" + name] == content, f"{path} is stored as it is on disk")
                words = list(words_of(content or b"").items())[:SAMPLED_WORDS]
                present = [b"w:%s:%s" % (word, name) for word, _ in words]
                absent = [key + b"?" for key in present]
                started = time.perf_counter()
                values = [db.get(key) for key in present]
                nothing = [db.get(key) for key in absent]
                spent += time.perf_counter() - started
                check(values == [b"%d" % count for _, count in words], f"the words of {path} are counted right")
                check(not any(nothing), "a key that was never put is not there")
                found += len(values)
                missing += len(nothing)
            rate = (found + missing) / spent if spent else 0.0
            say(f"{found:,} words found, {missing:,} keys not there, all as expected: {rate:,.0f} gets/s")

    def read_prefixes(self, db: nori_lsm.Engine) -> None:
        with step("prefixes") as say:
            parts = []
            for word in COUNTED_WORDS:
                entries = list(db.scan(prefix=b"w:%s:" % word))
                check(len(entries) == self.files_with_word[word], f"every file with {word.decode()!r} is found")
                check(entries == sorted(entries), "a scan is in key order")
                occurrences = sum(int(value) for _, value in entries)
                parts.append(f"{word.decode()} {occurrences:,} in {len(entries):,} files")
            for first in range(0, len(parts), 3):
                say("; ".join(parts[first : first + 3]))

    def delete_under_snapshot(self, db: nori_lsm.Engine) -> None:
        ranged, singles = self.keys_by_letter[RANGE_LETTER], self.keys_by_letter[SINGLES_LETTER]
        range_prefix, singles_prefix = b"w:" + RANGE_LETTER, b"w:" + SINGLES_LETTER
        with step("snapshot") as say, db.snapshot() as snapshot:
            db.delete_range(range_prefix, b"w:" + bytes([RANGE_LETTER[0] + 1]))
            with db.batch() as batch:
                for key in db.scan(prefix=singles_prefix).only_keys():
                    batch.delete(key)
            db.flush()
            check(db.scan(prefix=range_prefix).count() == 0, "what a range delete covers is gone")
            check(db.scan(prefix=singles_prefix).count() == 0, "what was deleted key by key is gone")
            check(snapshot.scan(prefix=range_prefix).count() == ranged, "the snapshot still has the deleted range")
            check(snapshot.scan(prefix=singles_prefix).count() == singles, "the snapshot still has the deleted keys")
            self.key_count -= ranged + singles
            check(len(db) == self.key_count, "nothing else was deleted")
            say(f"{ranged:,} keys deleted as a range, {singles:,} one by one; the snapshot still sees all of them")

    def settle(self, db: nori_lsm.Engine) -> None:
        with step("compact") as say, ProgressBar("compact", 100) as bar:
            db.compact(progress=lambda progress: bar.update(100 * progress.done // max(progress.total, 1)))
            slots = db.slots()
            check(len(slots) > 0, "all keys lie in slots")
            check(db.scan().count() == self.key_count, "compaction loses nothing and brings nothing back")
            say(f"{len(slots)} slots on {len({slot.level for slot in slots})} levels")

    def kill_writer(self) -> int:
        """Kills a child that writes; the number of writes it had acknowledged."""
        acknowledged = 0
        with step("kill -9") as say, ProgressBar("writes", WRITES_BEFORE_KILL) as bar:
            deadline = time.monotonic() + SECONDS_BEFORE_KILL
            command = [sys.executable, "-m", _tour_writer.__name__, self.path]
            with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as child:
                assert child.stdout is not None
                while acknowledged < WRITES_BEFORE_KILL and time.monotonic() < deadline:
                    received = child.stdout.read(65536)
                    if not received:
                        break
                    acknowledged += len(received)
                    bar.update(acknowledged)
                child.send_signal(signal.SIGKILL)
                while received := child.stdout.read(65536):
                    acknowledged += len(received)
            check(child.returncode == -signal.SIGKILL, f"the writer was killed (it ended with {child.returncode})")
            check(acknowledged > 0, "the writer acknowledged writes before it was killed")
            say(f"a writer, killed in the act, had acknowledged {acknowledged:,} writes")
        return acknowledged

    def check_recovered(self, db: nori_lsm.Engine, acknowledged: int, seconds: float) -> None:
        with step("recover") as say:
            lost = keys = 0
            for number in range(acknowledged):
                for key, value in _tour_writer.entries_of_write(number):
                    keys += 1
                    lost += db.get(key) != value
            check(lost == 0, f"no acknowledged write is lost ({lost} of {keys} keys are)")
            # Writes past the last acknowledged one may be there, each of them whole and none behind a gap.
            found = dict(db.scan(prefix=_tour_writer.PREFIX))
            number = acknowledged
            while len(found) > keys:
                entries = _tour_writer.entries_of_write(number)
                check(all(found.get(key) == value for key, value in entries), "a write is there whole or not at all")
                keys += len(entries)
                number += 1
            check(len(found) == keys, "a write is there whole or not at all")
            self.key_count += keys
            check(len(db) == self.key_count, "all else is as it was")
            beyond = f", and {number - acknowledged} that was under way" if number > acknowledged else ""
            say(f"opened in {seconds * 1000:,.0f} ms; all {acknowledged:,} acknowledged writes are there{beyond}")

    def read_hot(self, db: nori_lsm.Engine) -> nori_lsm.Stats:
        """Reads one letter's words over and over; what that did to the counters."""
        with step("hot") as say:
            keys = list(db.scan(prefix=b"w:" + HOT_LETTER).only_keys())
            check(len(keys) == self.keys_by_letter[HOT_LETTER], "every word of the letter is there")
            chosen = self.random.choices(keys, k=HOT_READS)
            before = db.stats()
            started = time.perf_counter()
            missed = sum(1 for key in chosen if db.get(key) is None)
            seconds = time.perf_counter() - started
            reads: nori_lsm.Stats = db.stats() - before
            check(missed == 0, "every key that a scan returned can be read")
            check(reads.gets == HOT_READS, "each read is counted")
            check(sum(slot.reads for slot in db.slots()) > 0, "reads are counted by slot")
            looked_up = reads.block_cache_hits + reads.block_cache_misses
            cached = f", {reads.block_cache_hits / looked_up:.1%} of blocks from the cache" if looked_up else ""
            words = f"{len(keys):,} words with {HOT_LETTER.decode()}"
            say(f"{HOT_READS:,} reads of {words}: {HOT_READS / seconds:,.0f} gets/s{cached}")
        return reads

    def verify(self, db: nori_lsm.Engine) -> None:
        with step("verify") as say, ProgressBar("verify", 100) as bar:
            report = db.verify(progress=lambda progress: bar.update(100 * progress.done // max(progress.total, 1)))
            check(report.ok, f"every checksum and every invariant holds ({report.findings[:3]})")
            say(f"{report.files:,} files, {report.blocks:,} blocks, {report.entries:,} entries, nothing wrong")


def show_tree(db: nori_lsm.Engine) -> None:
    """Levels, and the slots in them."""
    slots = db.slots()
    rows = []
    for level in sorted({slot.level for slot in slots}):
        mine = [slot for slot in slots if slot.level == level]
        more = mine[SLOTS_SHOWN_PER_LEVEL:]
        rows.append((f"level {level}", f"{len(mine)} slots", "", *tree_numbers(mine)))
        for slot in mine[:SLOTS_SHOWN_PER_LEVEL]:
            start = format_key(slot.start, 20) or "start"
            stop = "end" if slot.stop is None else format_key(slot.stop, 20)
            rows.append(("", f"slot {slot.slot_id}", f"{start} .. {stop}", *tree_numbers([slot])))
        if more:
            rows.append(("", f"{len(more)} more", "", *tree_numbers(more)))
    print()
    print(format_table(("", "", "keys", "runs", "files", "size", "entries", "reads"), rows, left=3))
    print(f"level 0: {db.stats().l0_files} files")


def tree_numbers(slots: list[nori_lsm.Slot]) -> tuple[str, ...]:
    return (
        f"{max(slot.runs for slot in slots)}",
        f"{sum(slot.files for slot in slots):,}",
        format_bytes(sum(slot.bytes for slot in slots)),
        f"{sum(slot.entries for slot in slots):,}",
        f"{sum(slot.reads for slot in slots):,}",
    )


def show_amplification(loaded: nori_lsm.Stats, reads: nori_lsm.Stats, now: nori_lsm.Stats) -> None:
    put = loaded.user_bytes_written
    print()
    print(
        f"write amplification  {loaded.write_amp:5.2f}   {format_bytes(loaded.write_amp * put)} flushed, compacted and "
        f"in the manifest for {format_bytes(put)} put; the log beside it {loaded.wal_write_amp:.2f}"
    )
    print(f"read amplification   {reads.read_amp:5.2f}   runs per hot read; {reads.blocks_per_get:.2f} blocks")
    print(
        f"space amplification  {now.space_amp:5.2f}   {format_bytes(now.bytes_on_disk)} of tables for "
        f"{format_bytes(now.live_bytes)} of live entries"
    )


def run(path: str | None = None, *, keep: bool = False) -> int:
    """The whole tour, into the directory `path` (None: a new temporary one); 0 if every claim held."""
    started = time.perf_counter()
    directory = prepare_directory(path, keep)
    tour = Tour(directory)
    print(f"nori_lsm {nori_lsm.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    try:
        tour.run()
    except TourFailed as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        print(f"The database is in {tour.path}", file=sys.stderr)
        return 1
    print()
    print(f"All of it held, in {time.perf_counter() - started:.1f} s. The database stays in {tour.path}")
    print(f"Explore it: python -m nori_lsm scan {tour.path} --prefix w:lambda: --limit 5")
    return 0
