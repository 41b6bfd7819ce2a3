"""Keys and values: the same for every engine, and in every run."""

import random
from collections.abc import Iterator
from itertools import accumulate, cycle, islice

KEY_BYTES = 16
VALUE_COUNT = 4096  # Different values; they stay in the processor's cache, so that the engine's misses are measured.


def missing_key(number: int) -> bytes:
    """Between two keys that exist, and in no database."""
    return b"%015dx" % (number // 10)


def keys(numbers: range | list[int]) -> list[bytes]:
    """Made in the order of use: keys that lie side by side in memory cost all engines the same little."""
    return [b"%016d" % number for number in numbers]


def shuffled(count: int, seed: int) -> list[int]:
    """Every number once."""
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    return numbers


def drawn(population: int, count: int, seed: int) -> list[int]:
    """Uniform draws, with repetition."""
    return random.Random(seed).choices(range(population), k=count)


def zipf(population: int, count: int, seed: int, exponent: float = 0.99) -> list[int]:
    """Draws of which the most frequent are scattered over all numbers."""
    weights = list(accumulate((rank + 1) ** -exponent for rank in range(population)))
    numbers = shuffled(population, seed + 1)
    return random.Random(seed).choices(numbers, cum_weights=weights, k=count)


def values(count: int, size: int, seed: int = 1) -> Iterator[bytes]:
    """Half compressible: the second half of each value is its first half again."""
    source = random.Random(seed)
    half = (size + 1) // 2
    made = []
    for _ in range(min(VALUE_COUNT, max(count, 1))):
        piece = source.randbytes(half)
        made.append((piece + piece)[:size])
    return islice(cycle(made), count)
