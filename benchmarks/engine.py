"""A store that is compared, behind the same few verbs as all others.

Each verb contains its loop, in the idiom that is the quickest for that store: what is measured is the store and its
binding, not this file. Nothing is imported before its engine is asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

Pair = tuple[bytes, bytes]
MIB = 1 << 20


class Operations(NamedTuple):
    """For workloads that mix them, one call each."""

    get: Callable[[bytes], bytes | None]
    put: Callable[[bytes, bytes], Any]
    scan: Callable[[bytes, int], int]  # From a key on, so many pairs; how many there were.


class Engine(ABC):
    """One open database. 'small' asks for budgets of about 48 MiB in all (the memory workload), 'cache_mib' for a
    block cache of that size, where the engine has one and is not left with its defaults."""

    package: str
    workloads: frozenset[str] | None = None  # None: all.
    small_budget: int | None = None  # Bytes, where the engine has budgets.

    def __init__(self, path: str, *, small: bool = False, sync: bool = False, cache_mib: int | None = None) -> None:
        self.path, self.small, self.sync, self.cache_mib = path, small, sync, cache_mib
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
    @abstractmethod
    def delete(self, keys: Iterable[bytes]) -> None: ...
    @abstractmethod
    def found(self, groups: Iterable[list[bytes]]) -> int: ...
    @abstractmethod
    def operations(self) -> Operations: ...

    def load(self, pairs: list[Pair]) -> None:
        """Ascending pairs into an empty database, in the quickest way there is."""
        self.fill_batches((key for key, _ in pairs), (value for _, value in pairs), 1000)

    def columns(self) -> int | None:
        """All pairs as two Arrow columns: how many. None: it makes none."""
        return None

    @classmethod
    def version(cls) -> str:
        return version(cls.package)


def count_absent(get: Callable[[bytes], bytes | None], keys: Iterable[bytes]) -> int:
    absent = 0
    for key in keys:
        if get(key) is None:
            absent += 1
    return absent
