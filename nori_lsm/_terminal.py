"""Text for a terminal: sizes, tables, a progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

__all__ = ["ProgressBar", "format_bytes", "format_key", "format_table"]

_REDRAW_SECONDS = 0.1
_BAR_CHARACTERS = 30


def format_bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_key(key: bytes, limit: int = 0) -> str:
    """Bytes in one line: UTF-8 as it is, what is not printable or not UTF-8 as escapes."""
    text = "".join(map(_escape, key.decode("utf-8", "surrogateescape")))
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode()


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """Aligned columns: the first `left` ones to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


class ProgressBar:
    """How far something is: one line that redraws itself on a terminal, a line for each quarter elsewhere."""

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self._what = what
        self._total = max(total, 1)
        self._stream = stream if stream is not None else sys.stderr
        self._is_terminal = self._stream.isatty()
        self._drawn_at = 0.0
        self._quarter = 0

    def update(self, done: int) -> None:
        share = min(done / self._total, 1.0)
        if self._is_terminal:
            now = time.monotonic()
            if now - self._drawn_at >= _REDRAW_SECONDS:
                self._drawn_at = now
                self._draw(share)
        elif int(share * 4) > self._quarter:
            self._quarter = int(share * 4)
            print(f"{self._what}: {self._quarter * 25} %", file=self._stream, flush=True)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self, share: float) -> None:
        filled = round(share * _BAR_CHARACTERS)
        bar = "#" * filled + "." * (_BAR_CHARACTERS - filled)
        self._stream.write(f"\r\x1b[K{self._what} [{bar}] {share:4.0%}")
        self._stream.flush()
