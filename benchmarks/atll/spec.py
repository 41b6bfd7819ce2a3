"""What a cell is asked for."""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
KEY_BYTES = 16
FANOUT = 10
ROCKS_MEMTABLE_PART = 0.78  # Of a memtable's memory, keys and values: 3,510 entries of 116 bytes in 512 KiB.
HEAT_INTERVAL_SECS = 5.0  # A minute by default; here a run takes about that.
FOLLOWED_INTERVAL_SECS = 0.5  # Where the hot range moves every few seconds.
TABLES_ON_LEVEL1 = 8  # Of the size at which tables are cut; nori_lsm is given as many slots.


@dataclass(frozen=True)
class Spec:
    """Crosses the process boundary as JSON."""

    engine: str
    workload: str
    count: int  # Keys of the load, or alive at a time.
    rounds: float  # Writes of the paced phase, in multiples of count.
    pace: int  # Writes a second in it; 0: at full speed.
    seed: int
    path: str
    memtable_bytes: int
    level1_bytes: int
    cache_bytes: int
    value_bytes: int = 100
    equal_budgets: bool = False  # Memtables of equal memory, not of equal content.
    written_log: bool = False  # nori_lsm: log through write(2), so that the system counts it.

    @property
    def writes(self) -> int:
        """Of the paced phase."""
        return int(self.count * self.rounds)

    @property
    def memtable_entries(self) -> int:
        """What RocksDB's memtable of this size holds when it is flushed."""
        return int(self.memtable_bytes * ROCKS_MEMTABLE_PART / self.entry_bytes)

    @property
    def heat_interval_secs(self) -> float:
        return FOLLOWED_INTERVAL_SECS if self.workload == "rotating" else HEAT_INTERVAL_SECS

    @property
    def table_bytes(self) -> int:
        return self.level1_bytes // TABLES_ON_LEVEL1

    @property
    def entry_bytes(self) -> int:
        return KEY_BYTES + self.value_bytes
