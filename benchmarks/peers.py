"""The stores that nori_lsm is compared with."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from .engine import MIB, Engine, Operations, Pair, count_absent

TUNED_MEMTABLE = 64 * MIB
TUNED_CACHE_MIB, SMALL_CACHE_MIB = 512, 24
BLOOM_BITS = 10


def cache_bytes(engine: Engine) -> int:
    return (SMALL_CACHE_MIB if engine.small else engine.cache_mib or TUNED_CACHE_MIB) * MIB


class Rocks(Engine):
    package = "rocksdict"
    tuned = False

    def options(self) -> Any:
        from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options

        options = Options(raw_mode=True)
        if not self.tuned:
            return options
        options.set_write_buffer_size(6 * MIB if self.small else TUNED_MEMTABLE)
        options.set_compression_type(DBCompressionType.lz4())
        blocks = BlockBasedOptions()
        blocks.set_block_cache(Cache(cache_bytes(self)))
        blocks.set_bloom_filter(BLOOM_BITS, False)
        if self.small:
            blocks.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(blocks)
        return options

    def open(self) -> None:
        from rocksdict import Rdict

        self.db = Rdict(self.path, self.options())

    def close(self) -> None:
        self.db.close()

    def fill(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        db = self.db
        for key, value in zip(keys, values, strict=False):
            db[key] = value

    def fill_batches(self, keys: Iterable[bytes], values: Iterable[bytes], size: int) -> None:
        from rocksdict import WriteBatch

        pairs = zip(keys, values, strict=False)
        while chunk := list(islice(pairs, size)):
            batch = WriteBatch(raw_mode=True)
            for key, value in chunk:
                batch[key] = value
            self.db.write(batch)

    def synced_put(self) -> Callable[[bytes, bytes], Any]:
        from rocksdict import WriteOptions

        put, options = self.db.put, WriteOptions()
        options.sync = True
        return lambda key, value: put(key, value, options)

    def absent(self, keys: Iterable[bytes]) -> int:
        return count_absent(self.db.get, keys)

    def pairs(self, reverse: bool) -> Iterator[Pair]:
        pairs: Iterator[Pair] = self.db.items(backwards=reverse)
        return pairs

    def scans(self, starts: Iterable[bytes], count: int, reverse: bool) -> int:
        items, total = self.db.items, 0
        for start in starts:
            total += len(list(islice(items(backwards=reverse, from_key=start), count)))
        return total

    def delete(self, keys: Iterable[bytes]) -> None:
        delete = self.db.delete
        for key in keys:
            delete(key)

    def found(self, groups: Iterable[list[bytes]]) -> int:
        get, total = self.db.get, 0
        for group in groups:
            total += len(group) - get(group).count(None)  # A list of keys is a MultiGet.
        return total

    def operations(self) -> Operations:
        items = self.db.items
        return Operations(
            self.db.get, self.db.put, lambda start, count: len(list(islice(items(from_key=start), count)))
        )


class RocksTuned(Rocks):
    tuned = True
    small_budget = 48 * MIB


class Plyvel(Engine):
    package = "plyvel"

    def options(self) -> dict[str, Any]:
        return {}

    def open(self) -> None:
        import plyvel

        self.db = plyvel.DB(self.path, create_if_missing=True, **self.options())

    def close(self) -> None:
        self.db.close()

    def fill(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        put = self.db.put
        for key, value in zip(keys, values, strict=False):
            put(key, value)

    def fill_batches(self, keys: Iterable[bytes], values: Iterable[bytes], size: int) -> None:
        pairs = zip(keys, values, strict=False)
        while chunk := list(islice(pairs, size)):
            batch = self.db.write_batch()
            put = batch.put
            for key, value in chunk:
                put(key, value)
            batch.write()

    def synced_put(self) -> Callable[[bytes, bytes], Any]:
        put = self.db.put
        return lambda key, value: put(key, value, sync=True)

    def absent(self, keys: Iterable[bytes]) -> int:
        return count_absent(self.db.get, keys)

    def pairs(self, reverse: bool) -> Iterator[Pair]:
        pairs: Iterator[Pair] = self.db.iterator(reverse=reverse)
        return pairs

    def scans(self, starts: Iterable[bytes], count: int, reverse: bool) -> int:
        iterator, total = self.db.iterator, 0
        for start in starts:
            if reverse:
                total += len(list(islice(iterator(stop=start, include_stop=True, reverse=True), count)))
            else:
                total += len(list(islice(iterator(start=start), count)))
        return total

    def delete(self, keys: Iterable[bytes]) -> None:
        delete = self.db.delete
        for key in keys:
            delete(key)

    def found(self, groups: Iterable[list[bytes]]) -> int:
        get, total = self.db.get, 0
        for group in groups:
            for key in group:
                total += get(key) is not None
        return total

    def operations(self) -> Operations:
        iterator = self.db.iterator
        return Operations(
            self.db.get, self.db.put, lambda start, count: len(list(islice(iterator(start=start), count)))
        )


class PlyvelTuned(Plyvel):
    def options(self) -> dict[str, Any]:
        return {
            "write_buffer_size": TUNED_MEMTABLE,
            "lru_cache_size": cache_bytes(self),
            "bloom_filter_bits": BLOOM_BITS,
        }


class Lmdb(Engine):
    """Without sync a commit is in the page cache: it survives kill -9, as the others' unsynced writes do."""

    package = "lmdb"

    def open(self) -> None:
        import lmdb

        self.env: Any = lmdb.open(self.path, map_size=16 << 30, sync=self.sync, metasync=self.sync, max_readers=256)
        self.txn: Any = None

    def reader(self) -> Any:
        if self.txn is None:
            self.txn = self.env.begin()
        return self.txn

    def close(self) -> None:
        if self.txn is not None:
            self.txn.abort()
        self.env.close()

    def fill(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        begin = self.env.begin
        for key, value in zip(keys, values, strict=False):
            with begin(write=True) as txn:
                txn.put(key, value)

    def fill_batches(self, keys: Iterable[bytes], values: Iterable[bytes], size: int) -> None:
        pairs = zip(keys, values, strict=False)
        while chunk := list(islice(pairs, size)):
            with self.env.begin(write=True) as txn:
                put = txn.put
                for key, value in chunk:
                    put(key, value)

    def synced_put(self) -> Callable[[bytes, bytes], Any]:
        begin = self.env.begin

        def put(key: bytes, value: bytes) -> None:
            with begin(write=True) as txn:
                txn.put(key, value)

        return put

    def absent(self, keys: Iterable[bytes]) -> int:
        """With a reader of its own: one that stayed open would see nothing new, and keep old pages from being used."""
        with self.env.begin() as txn:
            return count_absent(txn.get, keys)

    def pairs(self, reverse: bool) -> Iterator[Pair]:
        cursor = self.reader().cursor()
        pairs: Iterator[Pair] = cursor.iterprev() if reverse else cursor.iternext()
        return pairs

    def scans(self, starts: Iterable[bytes], count: int, reverse: bool) -> int:
        cursor, total = self.reader().cursor(), 0
        for start in starts:
            if not cursor.set_range(start):
                cursor.last()
            step = cursor.iterprev if reverse else cursor.iternext
            total += len(list(islice(step(), count)))
        return total

    def delete(self, keys: Iterable[bytes]) -> None:
        begin = self.env.begin
        for key in keys:
            with begin(write=True) as txn:
                txn.delete(key)

    def found(self, groups: Iterable[list[bytes]]) -> int:
        cursor, total = self.reader().cursor(), 0
        for group in groups:
            total += len(cursor.getmulti(group))
        return total

    def operations(self) -> Operations:
        """With a reader of their own, which lasts until the next write: it sees what was there when it began."""
        readers: list[Any] = []

        def reader() -> Any:
            if not readers:
                readers.append(self.env.begin())
            return readers[0]

        def get(key: bytes) -> bytes | None:
            value: bytes | None = reader().get(key)
            return value

        def put(key: bytes, value: bytes) -> None:
            if readers:
                readers.pop().abort()
            with self.env.begin(write=True) as txn:
                txn.put(key, value)

        def scan(start: bytes, count: int) -> int:
            cursor = reader().cursor()
            return len(list(islice(cursor.iternext(), count))) if cursor.set_range(start) else 0

        return Operations(get, put, scan)

    def load(self, pairs: list[Pair]) -> None:
        for first in range(0, len(pairs), 1000):
            with self.env.begin(write=True) as txn:
                txn.cursor().putmulti(pairs[first : first + 1000], append=True)


class Sqlite(Engine):
    """One table without row ids, write-ahead log; unsynced writes survive kill -9."""

    package = "sqlite3"
    PUT = "INSERT OR REPLACE INTO pairs VALUES (?, ?)"
    GET = "SELECT value FROM pairs WHERE key = ?"

    def open(self) -> None:
        import sqlite3

        os.makedirs(self.path, exist_ok=True)
        self.db = sqlite3.connect(os.path.join(self.path, "pairs.db"), isolation_level=None, check_same_thread=False)
        self.execute = self.db.execute
        self.execute("PRAGMA journal_mode = WAL")
        self.execute(f"PRAGMA synchronous = {'FULL' if self.sync else 'OFF'}")
        self.execute(f"PRAGMA cache_size = -{cache_bytes(self) // 1024}")
        self.execute("CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        self.lock = threading.Lock()

    def close(self) -> None:
        self.db.close()

    def fill(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        execute, put = self.execute, self.PUT
        for pair in zip(keys, values, strict=False):
            execute(put, pair)

    def fill_batches(self, keys: Iterable[bytes], values: Iterable[bytes], size: int) -> None:
        pairs = zip(keys, values, strict=False)
        while chunk := list(islice(pairs, size)):
            self.execute("BEGIN")
            self.db.executemany(self.PUT, chunk)
            self.execute("COMMIT")

    def synced_put(self) -> Callable[[bytes, bytes], Any]:
        def put(key: bytes, value: bytes) -> None:
            with self.lock:
                self.execute(self.PUT, (key, value))

        return put

    def get(self, key: bytes) -> bytes | None:
        row = self.execute(self.GET, (key,)).fetchone()
        return row[0] if row else None

    def absent(self, keys: Iterable[bytes]) -> int:
        return count_absent(self.get, keys)

    def pairs(self, reverse: bool) -> Iterator[Pair]:
        pairs: Iterator[Pair] = self.execute(f"SELECT key, value FROM pairs ORDER BY key {'DESC' if reverse else ''}")
        return pairs

    def scans(self, starts: Iterable[bytes], count: int, reverse: bool) -> int:
        order = "<= ? ORDER BY key DESC" if reverse else ">= ? ORDER BY key"
        query, total = f"SELECT key, value FROM pairs WHERE key {order} LIMIT {count}", 0
        for start in starts:
            total += len(self.execute(query, (start,)).fetchall())
        return total

    def delete(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.execute("DELETE FROM pairs WHERE key = ?", (key,))

    def found(self, groups: Iterable[list[bytes]]) -> int:
        total = 0
        for group in groups:
            marks = ",".join("?" * len(group))
            total += len(self.execute(f"SELECT key, value FROM pairs WHERE key IN ({marks})", group).fetchall())
        return total

    def operations(self) -> Operations:
        query = "SELECT key, value FROM pairs WHERE key >= ? ORDER BY key LIMIT ?"
        return Operations(
            self.get,
            lambda key, value: self.execute(self.PUT, (key, value)),
            lambda start, count: len(self.execute(query, (start, count)).fetchall()),
        )

    @classmethod
    def version(cls) -> str:
        import sqlite3

        return sqlite3.sqlite_version
