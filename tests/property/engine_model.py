"""What an engine must hold: a dict with expiry, and the commits since the last that is promised to survive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

__all__ = ["Bounds", "Commit", "Model", "Operation", "delete", "delete_range", "in_bounds", "put", "select"]

Entry = tuple[bytes, "float | None"]  # value, expiry
State = dict[bytes, Entry]
Operation = Callable[[State], None]
Commit = list[Operation]


def put(key: bytes, value: bytes, expiry: float | None = None) -> Operation:
    def apply(state: State) -> None:
        state[key] = (value, expiry)

    return apply


def delete(key: bytes) -> Operation:
    def apply(state: State) -> None:
        state.pop(key, None)

    return apply


def delete_range(start: bytes | None, stop: bytes | None) -> Operation:
    def apply(state: State) -> None:
        for key in [key for key in state if (start is None or key >= start) and (stop is None or key < stop)]:
            del state[key]

    return apply


def visible(state: State, now: float) -> dict[bytes, bytes]:
    return {key: value for key, (value, expiry) in state.items() if expiry is None or expiry > now}


@dataclass
class Model:
    """`durable` and then any number of `pending` commits, in order, is what a power cut may leave."""

    now: float = 0
    durable: State = field(default_factory=dict)
    pending: list[Commit] = field(default_factory=list)
    current: State = field(default_factory=dict)

    def commit(self, operations: Iterable[Operation], *, synced: bool = False) -> None:
        commit = list(operations)
        self.pending.append(commit)
        for operation in commit:
            operation(self.current)
        if synced:
            self.sync()

    def sync(self) -> None:
        self.durable = dict(self.current)
        self.pending.clear()

    def items(self) -> dict[bytes, bytes]:
        return visible(self.current, self.now)

    def adopt(self, found: dict[bytes, bytes], *, lost_nothing_before: int = 0, maybe: Commit | None = None) -> bool:
        """Whether `found` is a state that a crash may leave: at least the first `lost_nothing_before` pending commits, and
        perhaps the one that was under way. What was found is what the model holds from here on."""
        commits = [*self.pending, maybe] if maybe else self.pending
        state = dict(self.durable)
        for count in range(len(commits) + 1):
            if count > 0:
                for operation in commits[count - 1]:
                    operation(state)
            if count >= lost_nothing_before and visible(state, self.now) == found:
                self.current = {key: entry for key, entry in state.items() if key in found}
                self.pending = commits[:count]
                return True
        return False


# ---------------------------------------------------------------- scans


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
