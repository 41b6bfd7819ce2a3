"""What long calls tell: their progress, and what came of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Checkpoint", "Finding", "Progress", "RepairFinding", "RepairReport", "VerifyReport"]


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


@dataclass(frozen=True)
class RepairFinding(Finding):
    """Something that a repair found wrong. Where keys are concerned, they are those from `start` up to `stop` (None: without
    end); `dropped` entries among them were left out, as they may be older than what is lost."""

    start: bytes | None
    stop: bytes | None
    dropped: int


@dataclass(frozen=True)
class RepairReport:
    """What a repair saved, and what it found: `ok` if nothing was wrong.

    path         of the new database
    basis        what told which tables count: "manifest"; "prefix", the part of one that can be read, or one of before; or
                 "tables", nothing: all there are, told apart by sequences
    sequence     of the last write that is in it
    files        read: tables and segments of the log
    blocks       of tables, whole; `lost_blocks` are damaged, of tables that can be read otherwise
    entries      written
    dropped      left out for doubt, in all
    findings     in the order they were met; `unlisted` more were only counted
    """

    ok: bool
    path: str
    basis: Literal["manifest", "prefix", "tables"]
    sequence: int
    files: int
    blocks: int
    lost_blocks: int
    entries: int
    dropped: int
    findings: tuple[RepairFinding, ...]
    unlisted: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
