"""nori_lsm as it is compared, and the disk by itself."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from .engine import MIB, Engine, Operations, Pair, count_absent


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
        elif self.cache_mib:
            overrides["resources__block_cache_mib"] = self.cache_mib
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

    def delete(self, keys: Iterable[bytes]) -> None:
        delete = self.db.delete
        for key in keys:
            delete(key)

    def found(self, groups: Iterable[list[bytes]]) -> int:
        get_many, total = self.db.get_many, 0
        for group in groups:
            total += len(group) - get_many(group).count(None)
        return total

    def operations(self) -> Operations:
        scan = self.db.scan
        return Operations(self.db.get, self.db.put, lambda start, count: len(list(scan(start, limit=count))))

    def load(self, pairs: list[Pair]) -> None:
        self.db.ingest(pairs, sorted=True)

    def columns(self) -> int | None:
        import pyarrow

        return int(pyarrow.table(self.db.scan()).num_rows)

    @classmethod
    def version(cls) -> str:
        import nori_lsm

        return str(getattr(nori_lsm, "__version__", "source"))


class NoriWritten(Nori):
    overrides = {"wal__mapped": False}


class NoriMapped(Nori):
    overrides = {"wal__mapped": "auto"}


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

    def delete(self, keys: Iterable[bytes]) -> None:
        raise NotImplementedError

    def found(self, groups: Iterable[list[bytes]]) -> int:
        raise NotImplementedError

    def operations(self) -> Operations:
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        return "-"
