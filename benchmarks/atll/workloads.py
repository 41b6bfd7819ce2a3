"""Which keys are written and read, and which of them are hot.

A key is a number of 16 digits. Skew is in key order, which is what compaction by key range can use, but for ycsb_a, whose
hot keys are scattered.
"""

import random
from abc import ABC, abstractmethod
from itertools import accumulate

from benchmarks import data

HOT_PART = 0.05
HOT_SHARE = 0.9
HOT_START = 0.4
TENANTS = 200
HOT_TENANTS = 10
TENANT_ZIPF = 1.2
YCSB_ZIPF = 0.99
TENANT_STEP = 10**12
SERIES = 1000
SERIES_STEP = 10**10
RECENT_PART = 0.05
POINTS_PER_SECOND = 40_000
ROTATIONS = 8


def zipf(ranks: int, exponent: float) -> list[float]:
    """Cumulative weights."""
    return list(accumulate(rank**-exponent for rank in range(1, ranks + 1)))


class Workload(ABC):
    """Numbers of keys. 'written' is how many writes came before, the load not counted."""

    has_reads = True
    finds_all = True  # Each key read is there.
    has_full_speed = True  # After the paced phase, as many writes as keys, as fast as it goes.
    writes_per_second: int | None = None  # The workload's own pace.
    ttl_secs: int | None = None

    def __init__(self, count: int, writes: int, seed: int) -> None:
        self.count, self.paced = count, writes
        self.total = writes + (count if self.has_full_speed else 0)
        self.random = random.Random(seed)

    def load(self) -> list[int]:
        return data.shuffled(self.count, self.random.randrange(1 << 30))

    def writes(self) -> list[int]:
        return self.random.choices(range(self.count), k=self.total)

    def reads(self) -> tuple[list[int], bytearray]:
        """As many as writes; and for each whether it is of a hot key."""
        if not self.has_reads:
            return [], bytearray()
        numbers, hot = [], bytearray(self.total)
        for written in range(self.total):
            if self.random.random() < HOT_SHARE:
                hot[written] = 1
                numbers.append(self.hot(written))
            else:
                numbers.append(self.cold(written))
        return numbers, hot

    def moving_range(self, written: int) -> tuple[int, int] | None:
        """The first and the last key of the hot range, where it moves."""
        return None

    @abstractmethod
    def hot(self, written: int) -> int: ...
    @abstractmethod
    def cold(self, written: int) -> int: ...

    def live(self, written: int) -> int | None:
        """Keys that are there; None where that depends on the time."""
        return self.count


class Uniform(Workload):
    """All keys alike: all count as hot."""

    def hot(self, written: int) -> int:
        return self.random.randrange(self.count)

    cold = hot


class WriteOnly(Uniform):
    has_reads = False


class ReadHot(Workload):
    """A range of 5 % takes 90 % of the reads."""

    def range_start(self, written: int) -> int:
        return int(self.count * HOT_START)

    def hot(self, written: int) -> int:
        return self.range_start(written) + self.random.randrange(max(int(self.count * HOT_PART), 1))

    def cold(self, written: int) -> int:
        start, width = self.range_start(written), max(int(self.count * HOT_PART), 1)
        number = self.random.randrange(self.count - width)
        return number if number < start else number + width


class ReadWriteHot(ReadHot):
    """And half of the writes."""

    def writes(self) -> list[int]:
        draw = self.random.random
        return [self.hot(i) if draw() < 0.5 else self.random.randrange(self.count) for i in range(self.total)]


class Rotating(ReadHot):
    """The hot range moves eight times."""

    def moving_range(self, written: int) -> tuple[int, int] | None:
        start = self.range_start(written)
        return start, start + int(self.count * HOT_PART) - 1

    def range_start(self, written: int) -> int:
        turn = min(written * ROTATIONS // self.paced, ROTATIONS - 1)
        return int(self.count * (turn * 3 % ROTATIONS + 0.3) / ROTATIONS)


class Tenants(Workload):
    """200 prefixes, of which few are awake. Hot: the ten that are read most."""

    def __init__(self, count: int, writes: int, seed: int) -> None:
        super().__init__(count, writes, seed)
        self.keys_each = max(count // TENANTS, 1)
        self.count = self.keys_each * TENANTS
        self.ranked = data.shuffled(TENANTS, seed)
        self.weights = zipf(TENANTS, TENANT_ZIPF)

    def number(self, position: int) -> int:
        tenant, own = divmod(position, self.keys_each)
        return tenant * TENANT_STEP + own

    def load(self) -> list[int]:
        return [self.number(position) for position in super().load()]

    def writes(self) -> list[int]:
        return [self.number(position) for position in super().writes()]

    def of_rank(self, rank: int) -> int:
        return self.ranked[rank] * TENANT_STEP + self.random.randrange(self.keys_each)

    def reads(self) -> tuple[list[int], bytearray]:
        ranks = self.random.choices(range(TENANTS), cum_weights=self.weights, k=self.total)
        return [self.of_rank(rank) for rank in ranks], bytearray(rank < HOT_TENANTS for rank in ranks)

    def hot(self, written: int) -> int:
        return self.of_rank(self.random.choices(range(HOT_TENANTS), cum_weights=self.weights[:HOT_TENANTS])[0])

    def cold(self, written: int) -> int:
        return self.of_rank(self.random.randrange(HOT_TENANTS, TENANTS))


class TimeSeries(Workload):
    """Each tick a point of each series; a point lives for so long that about 'count' are alive. Hot: the newest points of
    all series. Written at an even pace, so that every store has the same points alive. The load is the first lifetime, in
    which nothing expires."""

    finds_all = False  # A store that falls behind has points expire early.
    has_full_speed = False

    def __init__(self, count: int, writes: int, seed: int) -> None:
        super().__init__(count, writes, seed)
        self.ttl_secs = max(count // POINTS_PER_SECOND, 1)
        self.writes_per_second = count // self.ttl_secs

    def points(self, first: int, stop: int) -> list[int]:
        return [position % SERIES * SERIES_STEP + position // SERIES for position in range(first, stop)]

    def load(self) -> list[int]:
        return self.points(0, self.count)

    def writes(self) -> list[int]:
        return self.points(self.count, self.count + self.total)

    def recent(self, written: int, newest_part: float) -> int:
        newest = max((self.count + written) // SERIES - 1, 0)
        reach = min(newest, int(self.count / SERIES * newest_part))
        return self.random.randrange(SERIES) * SERIES_STEP + newest - self.random.randrange(reach + 1)

    def hot(self, written: int) -> int:
        return self.recent(written, RECENT_PART)

    def cold(self, written: int) -> int:
        return self.recent(written, 0.5)

    def live(self, written: int) -> int | None:
        return None


class Monotone(Workload):
    """Each key above all before it. All count as hot."""

    def load(self) -> list[int]:
        return list(range(self.count))

    def writes(self) -> list[int]:
        return list(range(self.count, self.count + self.total))

    def hot(self, written: int) -> int:
        return self.random.randrange(self.count + written)

    cold = hot

    def live(self, written: int) -> int | None:
        return self.count + written


class YcsbA(Workload):
    """Half reads, half writes of Zipf's keys, scattered. All count as hot."""

    def __init__(self, count: int, writes: int, seed: int) -> None:
        super().__init__(count, writes, seed)
        self.ranked = data.shuffled(count, seed)
        self.weights = zipf(count, YCSB_ZIPF)

    def draw(self, count: int) -> list[int]:
        return self.random.choices(self.ranked, cum_weights=self.weights, k=count)

    def writes(self) -> list[int]:
        return self.draw(self.total)

    def reads(self) -> tuple[list[int], bytearray]:
        return self.draw(self.total), bytearray(b"\1") * self.total

    def hot(self, written: int) -> int:
        return self.draw(1)[0]

    cold = hot


WORKLOADS: dict[str, type[Workload]] = {
    "read_hot": ReadHot,
    "rw_hot": ReadWriteHot,
    "tenants": Tenants,
    "time_series": TimeSeries,
    "monotone": Monotone,
    "rotating": Rotating,
    "write_only": WriteOnly,
    "ycsb_a": YcsbA,
    "uniform": Uniform,
}
