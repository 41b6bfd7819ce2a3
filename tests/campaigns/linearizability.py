"""Is a history of calls on one register linearizable? Wing and Gong's search, with Lowe's memory of what was tried.

Each call has the moment before it and the moment after it. The history is linearizable if each call can be put at a
moment between its two, so that the calls in this order, one after the other, give the results that were seen. The search
takes one call after the other, of those that began before any that was not taken ended, and goes back where none of
them can have come next. Sets of calls taken that left the same state are not tried twice.

No value is written twice. That spares most of the search, and loses nothing:
- A read that fits is taken at once: it changes nothing.
- A value that somebody has still to read is not overwritten. One that is popped must have been read by all others.
- A write that nobody reads is taken just before another write: there it changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GET, PUT, DELETE, POP, SETDEFAULT = range(5)
ABSENT = 0


@dataclass(frozen=True)
class Call:
    """Values are numbers, ABSENT for none. setdefault's result is what was there before."""

    kind: int
    began: int
    ended: int
    argument: int = ABSENT
    result: int = ABSENT

    @property
    def written(self) -> int:
        """The value that it puts; ABSENT if none."""
        puts = self.kind == PUT or (self.kind == SETDEFAULT and self.result == ABSENT)
        return self.argument if puts else ABSENT

    @property
    def is_read(self) -> bool:
        """It changes nothing, if its result is right."""
        return self.kind == GET or (self.kind in (POP, SETDEFAULT) and (self.result == ABSENT) == (self.kind == POP))


class Undecided(Exception):
    """The search took more steps than it may."""


def step(state: int, call: Call) -> int | None:
    """The register's value after the call; None if the call cannot have given its result."""
    if call.kind == PUT:
        return call.argument
    if call.kind == DELETE:
        return ABSENT
    if call.result != state:
        return None
    if call.kind == GET:
        return state
    if call.kind == POP:
        return ABSENT
    return call.argument if state == ABSENT else state


class _Search:
    def __init__(self, calls: Sequence[Call], state: int) -> None:
        # By their beginnings; -1 and len(calls) end the list of those that were not taken.
        self.calls = sorted(calls, key=lambda call: (call.began, call.ended))
        count = len(self.calls)
        self.next = [*range(1, count + 2)]
        self.previous = [*range(-1, count + 1)]
        self.first = 0
        self.by_end = sorted(range(count), key=lambda index: self.calls[index].ended)
        self.ended_first = 0  # In by_end: those before it were taken.
        self.taken = 0
        self.state = state
        self.readers: dict[int, int] = {}  # Of each value: calls not taken whose result it is; and of those, pops.
        self.pops: dict[int, int] = {}
        self.deadlines = [call.ended for call in self.calls]
        writers: dict[int, int] = {}
        for index, call in enumerate(self.calls):
            if call.written != ABSENT and writers.setdefault(call.written, index) != index:
                raise ValueError(f"{call.written} is written twice")
        for call in self.calls:
            self.count_reader(call, 1)
            if call.result in writers:
                writer = writers[call.result]
                self.deadlines[writer] = min(self.deadlines[writer], call.ended)

    def count_reader(self, call: Call, change: int) -> None:
        if call.result != ABSENT:
            self.readers[call.result] = self.readers.get(call.result, 0) + change
            if call.kind == POP:
                self.pops[call.result] = self.pops.get(call.result, 0) + change

    def take(self, index: int) -> None:
        before, after = self.previous[index], self.next[index]
        if before < 0:
            self.first = after
        else:
            self.next[before] = after
        self.previous[after] = before
        self.taken |= 1 << index
        self.count_reader(self.calls[index], -1)
        state = step(self.state, self.calls[index])
        assert state is not None
        self.state = state

    def give_back(self, index: int) -> None:
        before, after = self.previous[index], self.next[index]
        if before < 0:
            self.first = index
        else:
            self.next[before] = index
        self.previous[after] = index
        self.taken &= ~(1 << index)
        self.count_reader(self.calls[index], 1)

    def candidates(self) -> list[int]:
        """Those that may come next by their times."""
        count = len(self.calls)
        while self.ended_first < count and self.taken >> self.by_end[self.ended_first] & 1:
            self.ended_first += 1
        if self.ended_first == count:
            return []
        end = self.calls[self.by_end[self.ended_first]].ended
        found, index = [], self.first
        while index < count and self.calls[index].began <= end:
            found.append(index)
            index = self.next[index]
        return found

    def take_reads(self) -> list[int]:
        """Takes the reads that fit, and those that may come then."""
        taken: list[int] = []
        while True:
            fitting = [
                index
                for index in self.candidates()
                if self.calls[index].is_read and self.calls[index].result == self.state
            ]
            if not fitting:
                return taken
            for index in fitting:
                self.take(index)
            taken += fitting

    def choices(self) -> list[list[int]]:
        """What may come next and changes something: a call, with the writes before it that nobody reads."""
        candidates = self.candidates()
        readers = self.readers.get(self.state, 0) if self.state != ABSENT else 0
        if readers:
            pops = [i for i in candidates if self.calls[i].kind == POP and self.calls[i].result == self.state]
            return [[index] for index in pops] if readers == 1 and self.pops.get(self.state, 0) == 1 else []
        unread = [i for i in candidates if self.calls[i].kind == PUT and not self.readers.get(self.calls[i].argument)]
        found = []
        for index in sorted(candidates, key=self.deadlines.__getitem__):
            call = self.calls[index]
            if call.kind in (PUT, DELETE):
                found.append([other for other in unread if other != index] + [index])
            elif not call.is_read and call.result == self.state:
                found.append([index])
        return found

    def run(self, most_steps: int) -> bool:
        tried: set[tuple[int, int]] = set()
        # What was taken since the choice before, the state and the first end then; and what else there was to choose.
        frames: list[tuple[list[int], int, int, list[list[int]]]] = []
        state, ended_first, chosen = self.state, self.ended_first, []
        for _ in range(most_steps):
            for index in chosen:
                self.take(index)
            chosen = chosen + self.take_reads()
            if self.first == len(self.calls):
                return True
            is_new = (self.taken, self.state) not in tried
            tried.add((self.taken, self.state))
            frames.append((chosen, state, ended_first, self.choices()[::-1] if is_new else []))
            while not frames[-1][3]:
                chosen, self.state, self.ended_first, _left = frames.pop()
                for index in reversed(chosen):
                    self.give_back(index)
                if not frames:
                    return False
            state, ended_first = self.state, self.ended_first
            chosen = frames[-1][3].pop()
        raise Undecided(f"{len(self.calls)} calls, {bin(self.taken).count('1')} of them taken after {most_steps} steps")


def is_linearizable(calls: Sequence[Call], state: int = ABSENT, most_steps: int = 300_000) -> bool:
    """Whether the calls on one register, which holds 'state' at first, can have happened one after the other. ValueError
    if a value is written twice."""
    return _Search(calls, state).run(most_steps)
