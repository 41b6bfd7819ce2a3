"""What a database may hold after its process, or the power, went away: some state that the journal allows, and no other.

A writer's state after its first n operations is computed from n. For each writer the database must hold the state of one
n: at least the last operation that the failure may not undo, at most the one under way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nori_lsm

from .workload import NO_WRITER, RECORD, Operation, Violation, operation

WORKLOAD = Path(__file__).parent / "workload.py"
MASK = (1 << 64) - 1


class State:
    """What a writer's keys hold after its operations up to 'number', with a sum that tells states apart quickly."""

    def __init__(self, seed: int, writer: int) -> None:
        self.seed, self.writer, self.number = seed, writer, -1
        self.contents: dict[bytes, bytes] = {}
        self.sum = 0

    def copy(self) -> State:
        other = State(self.seed, self.writer)
        other.number, other.contents, other.sum = self.number, dict(self.contents), self.sum
        return other

    def advance(self) -> None:
        self.number += 1
        self.apply(operation(self.seed, self.writer, self.number))

    def apply(self, what: Operation) -> None:
        if what.kind == "get":
            return
        for change in what.changes:
            if len(change) == 3:
                for key in [key for key in self.contents if change[0] <= key < change[1]]:
                    self._set(key, None)
            elif what.kind != "setdefault" or change[0] not in self.contents:
                self._set(*change)

    def _set(self, key: bytes, value: bytes | None) -> None:
        old = self.contents.pop(key, None)
        if old is not None:
            self.sum = (self.sum - hash((key, old))) & MASK
        if value is not None:
            self.contents[key] = value
            self.sum = (self.sum + hash((key, value))) & MASK


def sum_of(contents: dict[bytes, bytes]) -> int:
    return sum(hash(item) for item in contents.items()) & MASK


@dataclass
class Journal:
    """What the writers of one process said they had done, in the order in which it was read."""

    firsts: list[int]
    last: list[int] = field(init=False)  # By writer: the last operation that returned,
    durable: list[int] = field(init=False)  # and that is on disk.
    sequences: list[tuple[int, int, int]] = field(default_factory=list)  # Sequence, writer, number; where told.
    synced: int = 0  # The greatest sequence that was said to be on disk.
    _unsynced: list[tuple[int, int, int]] = field(default_factory=list)  # Of the sequences, those above it.

    def __post_init__(self) -> None:
        self.last = [first - 1 for first in self.firsts]
        self.durable = list(self.last)
        self.count = 0

    def note(self, writer: int, number: int, sequence: int, is_durable: bool) -> None:
        if number != self.last[writer] + 1:
            raise Violation(f"writer {writer} says {number} after {self.last[writer]}")
        self.last[writer] = number
        self.count += 1
        if sequence:
            self.sequences.append((sequence, writer, number))
            self._unsynced.append(self.sequences[-1])
        if is_durable:
            self.durable[writer] = number
        if sequence:
            self.note_synced(sequence if is_durable else self.synced)

    def note_synced(self, sequence: int) -> None:
        """All up to it is on disk, whoever wrote it; what a writer did before a write that is, too."""
        self.synced = max(self.synced, sequence)
        for known, writer, number in self._unsynced:
            if known <= self.synced:
                self.durable[writer] = max(self.durable[writer], number)
        self._unsynced = [write for write in self._unsynced if write[0] > self.synced]


class Child:
    """A process that runs the load; its journal is read as it goes."""

    def __init__(
        self,
        path: Path,
        seed: int,
        firsts: list[int],
        options: dict[str, Any],
        checkpoints: Path | None = None,
        tracer: tuple[str, ...] = (),
    ) -> None:
        what = {
            "path": str(path),
            "seed": seed,
            "firsts": firsts,
            "options": options,
            "checkpoints": str(checkpoints) if checkpoints else None,
        }
        self.journal = Journal(firsts)
        command = [*tracer, sys.executable, str(WORKLOAD), json.dumps(what)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self.problem: Violation | None = None
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        while record := self.process.stdout.read(RECORD.size):
            try:
                if len(record) < RECORD.size:
                    break
                writer, number, sequence, is_durable = RECORD.unpack(record)
                if writer == NO_WRITER:
                    self.journal.note_synced(sequence)
                else:
                    self.journal.note(writer, number, sequence, is_durable)
            except Violation as problem:
                self.problem = problem

    def finish(self) -> str:
        """Waits for its end; what it said on standard error."""
        assert self.process.stderr
        said = self.process.stderr.read().decode(errors="replace")
        self.process.wait()
        self._reader.join()
        self.process.stdout.close() if self.process.stdout else None
        self.process.stderr.close()
        if self.problem:
            raise self.problem
        return said


@dataclass
class Match:
    """What a writer's keys hold: the state of each number in [least, most] that is the same."""

    state: State  # Of the least.
    most: int


def find_state(found: dict[bytes, bytes], state: State, least: int, most: int) -> Match | None:
    """The states of [least, most], computed from 'state' on, that are what was found."""
    wanted = sum_of(found)
    match: Match | None = None
    state = state.copy()
    while True:
        if state.number >= least and state.sum == wanted and state.contents == found:
            if match:
                match.most = state.number
            else:
                match = Match(state.copy(), state.number)
        if state.number >= most:
            return match
        state.advance()


def contents_of(reader: nori_lsm.Reader, writer: int) -> dict[bytes, bytes]:
    return dict(reader.scan(prefix=b"w%d:" % writer))


def describe(found: dict[bytes, bytes], state: State) -> str:
    keys = sorted(key for key in found.keys() | state.contents.keys() if found.get(key) != state.contents.get(key))
    return f"{len(keys)} keys differ from state {state.number}: " + ", ".join(
        f"{key!r} {'absent' if key not in found else len(found[key])}" for key in keys[:5]
    )


def judge(db: nori_lsm.Reader, states: list[State], least: list[int], most: list[int]) -> list[Match]:
    """The states that the database holds, which must lie within the bounds."""
    held = []
    for writer, state in enumerate(states):
        found = contents_of(db, writer)
        match = find_state(found, state, least[writer], most[writer])
        if not match:
            expected = state.copy()
            while expected.number < least[writer]:
                expected.advance()
            bounds = f"{least[writer]}..{most[writer]}"
            before = find_state(found, state, -1, least[writer])
            held_instead = f", but {before.state.number}" if before else ""
            raise Violation(f"writer {writer} holds no state of {bounds}{held_instead}: {describe(found, expected)}")
        held.append(match)
    prefixes = tuple(b"w%d:" % writer for writer in range(len(states)))
    for key in db.keys():
        if not key.startswith(prefixes):
            raise Violation(f"P4: {key!r} was never written")
    return held


def judge_order(journal: Journal, held: list[Match]) -> None:
    """P2: nothing is there that came after something that is not. Where an operation changed nothing, it may be either."""
    kept = [sequence for sequence, writer, number in journal.sequences if number <= held[writer].state.number]
    lost = [sequence for sequence, writer, number in journal.sequences if number > held[writer].most]
    if kept and lost and max(kept) > min(lost):
        raise Violation(f"P2: write {min(lost)} is lost, and write {max(kept)} is there")
