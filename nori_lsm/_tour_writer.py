"""The child that the tour kills: writes for as long as it lives, and acknowledges each write with one byte.

Every tenth write is a batch. What it writes follows from its number alone, so that the parent knows what must be there.
"""

from __future__ import annotations

import hashlib
import os
import sys

import nori_lsm

__all__ = ["entries_of_write"]

PREFIX = b"k:"
BATCH_SIZE = 10


def entries_of_write(number: int) -> list[tuple[bytes, bytes]]:
    """The keys and values of the n-th write, counted from 0."""
    count = BATCH_SIZE if number % 10 == 9 else 1
    digest = hashlib.sha256(b"%d" % number).hexdigest().encode()
    return [(b"%s%010d:%d" % (PREFIX, number, part), b"%s:%d" % (digest, part)) for part in range(count)]


def write_until_killed(path: str, acknowledgements: int) -> None:
    with nori_lsm.open(path, create=False) as db:
        number = 0
        while True:
            entries = entries_of_write(number)
            if len(entries) == 1:
                db.put(*entries[0])
            else:
                with db.batch() as batch:
                    for key, value in entries:
                        batch.put(key, value)
            os.write(acknowledgements, b".")
            number += 1


if __name__ == "__main__":
    write_until_killed(sys.argv[1], sys.stdout.fileno())
