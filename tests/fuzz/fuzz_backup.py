"""Fuzzes the lists of backups, which are read in Python: libFuzzer through atheris. Arguments are libFuzzer's.

An input is a whole list, or the JSON of one, put under the right checksum, so that mutations get behind it.
"""

from __future__ import annotations

import hashlib
import re
import sys

from nori_lsm import CorruptionError, FormatError, backup

SAFE = re.compile(r"[A-Z]+(-[0-9]+)?|[0-9]+\.sst|wal/[0-9]+\.log", re.ASCII)


def seal(text: bytes) -> bytes:
    return b"nori_lsm backup 1 " + hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def try_list(data: bytes) -> bool:
    """Reads it as a list. What is accepted agrees with itself, and names nothing outside; what is not is damage."""
    try:
        made = backup.decode(data, "list", 1)
    except (CorruptionError, FormatError):
        return False
    assert backup.decode(backup.encode(made), "list", 1) == made or made.time != made.time  # But for NaN.
    assert made.bytes == sum(file.bytes for file in made.contents)
    for file in made.contents:
        assert SAFE.fullmatch(file.name) and len(file.sha256) == 64, file
    return True


def try_input(data: bytes) -> None:
    try_list(data)
    try_list(seal(data))


if __name__ == "__main__":
    import atheris

    atheris.instrument_func(try_list)
    for name in ("decode", "_nonsense", "_is_count"):
        setattr(backup, name, atheris.instrument_func(getattr(backup, name)))
    atheris.Setup(sys.argv, try_input)
    atheris.Fuzz()
