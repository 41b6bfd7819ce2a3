"""What long calls tell: their progress, and what came of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Checkpoint", "Finding", "Progress", "VerifyReport"]


@dataclass(frozen=True)
class Progress:
    """How far a long call has come: `done` of `total` `unit`s, in its `phase`."""

    done: int
    total: int
    unit: str
    phase: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was made. `linked` of its `files` are hard links, which take no space of their own."""

    path: str
    sequence: int
    files: int
    bytes: int
    linked: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """Something wrong that verify found. `offset` is a byte in the file at `path`, None where no byte is to blame."""

    path: str
    offset: int | None
    kind: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class VerifyReport:
    """What verify read, and what it found: `ok` if nothing."""

    ok: bool
    files: int
    blocks: int
    entries: int
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
