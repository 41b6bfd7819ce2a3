"""The stores that are compared, each behind the same few verbs.

Each verb contains its loop, in the idiom that is the quickest for that store: what is measured is the store and its
binding, not this file. Nothing is imported before its engine is asked for.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from typing import Any

Pair = tuple[bytes, bytes]
MIB = 1 << 20
TUNED_MEMTABLE = 64 * MIB
TUNED_CACHE = 512 * MIB
BLOOM_BITS = 10


class Engine(ABC):
    """One open database. 'small' asks for budgets of about 48 MiB in all (the memory workload)."""

    package: str
    workloads: frozenset[str] | None = None  # None: all.
    small_budget: int | None = None  # Bytes, where the engine has budgets.

    def __init__(self, path: str, *, small: bool = False, sync: bool = False) -> None:
        self.path, self.small, self.sync = path, small, sync
        self.db: Any = None
        self.open()

    @abstractmethod
    def open(self) -> None: ...
    @abstractmethod
    def close(self) -> None: ...
    @abstractmethod
    def fill(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None: ...
    @abstractmethod
    def fill_batches(self, keys: Iterable[bytes], values: Iterable[bytes], size: int) -> None: ...
    @abstractmethod
    def synced_put(self) -> Callable[[bytes, bytes], Any]: ...
    @abstractmethod
    def absent(self, keys: Iterable[bytes]) -> int: ...
    @abstractmethod
    def pairs(self, reverse: bool) -> Iterator[Pair]: ...
    @abstractmethod
    def scans(self, starts: Iterable[bytes], count: int, reverse: bool) -> int: ...

    @classmethod
    def version(cls) -> str:
        return version(cls.package)


def count_absent(get: Callable[[bytes], bytes | None], keys: Iterable[bytes]) -> int:
    absent = 0
    for key in keys:
        if get(key) is None:
            absent += 1
    return absent


class Nori(Engine):
    package = "nori_lsm"
    small_budget = 48 * MIB
    overrides: dict[str, Any] = {}

    def open(self) -> None:
        import nori_lsm

        budgets = {"block_cache": 16, "index_cache": 4, "memtables": 24, "filters": 4} if self.small else {}
        overrides: dict[str, Any] = {f"resources__{name}_mib": size for name, size in budgets.items()}
        if self.small:
            overrides["memtable__flush_trigger_bytes"] = 6 * MIB
        self.db = nori_lsm.open(self.path, **self.overrides, **overrides)

    def close(self) -> None:
        self.db.close()

    def fill(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        db = self.db
        for key, value in zip(keys, values, strict=False):
            db[key] = value

    def fill_batches(self, keys: Iterable[bytes], values: Iterable[bytes], size: int) -> None:
        pairs = zip(keys, values, strict=False)
        batch = self.db.batch()
        while chunk := list(islice(pairs, size)):
            for key, value in chunk:
                batch[key] = value
            batch.commit()

    def synced_put(self) -> Callable[[bytes, bytes], Any]:
        put = self.db.put
        return lambda key, value: put(key, value, sync=True)

    def absent(self, keys: Iterable[bytes]) -> int:
        return count_absent(self.db.get, keys)

    def pairs(self, reverse: bool) -> Iterator[Pair]:
        pairs: Iterator[Pair] = self.db.scan(reverse=reverse)
        return pairs

    def scans(self, starts: Iterable[bytes], count: int, reverse: bool) -> int:
        scan, total = self.db.scan, 0
        for start in starts:
            if reverse:
                total += len(list(scan(stop=start, include_stop=True, reverse=True, limit=count)))
            else:
                total += len(list(scan(start, limit=count)))
        return total

    @classmethod
    def version(cls) -> str:
        import nori_lsm

        return str(getattr(nori_lsm, "__version__", "source"))


class NoriWritten(Nori):
    overrides = {"wal__mapped": False}


class NoriMapped(Nori):
    overrides = {"wal__mapped": "auto"}


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
        blocks.set_block_cache(Cache(24 * MIB if self.small else TUNED_CACHE))
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


class RocksTuned(Rocks):
    tuned = True
    small_budget = 48 * MIB


class Plyvel(Engine):
    package = "plyvel"
    options: dict[str, Any] = {}

    def open(self) -> None:
        import plyvel

        self.db = plyvel.DB(self.path, create_if_missing=True, **self.options)

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


class PlyvelTuned(Plyvel):
    options = {
        "write_buffer_size": TUNED_MEMTABLE,
        "lru_cache_size": TUNED_CACHE,
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
        return count_absent(self.reader().get, keys)

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


class Raw(Engine):
    """No store: fdatasync of a file whose blocks are written already, the bound of every synced write."""

    package = "-"
    workloads = frozenset({"fillsync1"})
    record_bytes = 130

    def open(self) -> None:
        os.mkdir(self.path)
        self.file = os.open(os.path.join(self.path, "raw"), os.O_RDWR | os.O_CREAT)
        os.pwrite(self.file, bytes(16 * MIB), 0)
        os.fsync(self.file)
        self.offset = 0

    def close(self) -> None:
        os.close(self.file)

    def synced_put(self) -> Callable[[bytes, bytes], Any]:
        def put(key: bytes, value: bytes) -> None:
            os.pwrite(self.file, (key + value).ljust(self.record_bytes), self.offset)
            os.fdatasync(self.file)
            self.offset = (self.offset + self.record_bytes) % (15 * MIB)

        return put

    def fill(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        raise NotImplementedError

    def fill_batches(self, keys: Iterable[bytes], values: Iterable[bytes], size: int) -> None:
        raise NotImplementedError

    def absent(self, keys: Iterable[bytes]) -> int:
        raise NotImplementedError

    def pairs(self, reverse: bool) -> Iterator[Pair]:
        raise NotImplementedError

    def scans(self, starts: Iterable[bytes], count: int, reverse: bool) -> int:
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        return "-"


ENGINES: dict[str, type[Engine]] = {
    "nori": NoriMapped,
    "nori-written": NoriWritten,
    "rocksdict": Rocks,
    "rocksdict-tuned": RocksTuned,
    "plyvel": Plyvel,
    "plyvel-tuned": PlyvelTuned,
    "lmdb": Lmdb,
    "raw": Raw,
}
OURS = ("nori", "nori-written")
NOT_PEERS = (*OURS, "raw")
