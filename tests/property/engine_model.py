"""Scans of a dict, as an engine's are."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds", "in_bounds", "select"]


@dataclass(frozen=True)
class Bounds:
    start: bytes | None = None
    stop: bytes | None = None
    prefix: bytes | None = None
    reverse: bool = False
    limit: int | None = None
    include_start: bool = True
    include_stop: bool = False

    def arguments(self) -> dict[str, object]:
        return dict(self.__dict__)


def in_bounds(key: bytes, bounds: Bounds) -> bool:
    start, stop = bounds.start, bounds.stop
    if start is not None and (key < start or (key == start and not bounds.include_start)):
        return False
    if stop is not None and (key > stop or (key == stop and not bounds.include_stop)):
        return False
    return bounds.prefix is None or key.startswith(bounds.prefix)


def select(items: dict[bytes, bytes], bounds: Bounds) -> list[tuple[bytes, bytes]]:
    found = sorted((item for item in items.items() if in_bounds(item[0], bounds)), reverse=bounds.reverse)
    return found[: bounds.limit]
