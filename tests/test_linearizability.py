"""The checker of histories itself: it refuses what cannot have happened, accepts what can, and agrees with brute force."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations

import pytest
from campaigns.linearizability import ABSENT, DELETE, GET, POP, PUT, SETDEFAULT, Call, Undecided, is_linearizable, step
from hypothesis import given, settings
from hypothesis import strategies as st

IMPOSSIBLE = {
    "stale read": [Call(PUT, 0, 1, 1), Call(PUT, 2, 3, 2), Call(GET, 4, 5, result=1)],
    "lost write": [Call(PUT, 0, 1, 1), Call(GET, 2, 3, result=ABSENT)],
    "read of what nobody wrote": [Call(PUT, 0, 3, 1), Call(GET, 1, 2, result=7)],
    "read from the future": [Call(GET, 0, 1, result=1), Call(PUT, 2, 3, 1)],
    "deleted key back": [Call(PUT, 0, 1, 1), Call(DELETE, 2, 3), Call(GET, 4, 5, result=1)],
    "popped twice": [Call(PUT, 0, 1, 1), Call(POP, 2, 5, result=1), Call(POP, 3, 4, result=1)],
    "two defaults": [Call(SETDEFAULT, 0, 3, 1), Call(SETDEFAULT, 1, 2, 2)],
    "reads that disagree on the order": [
        Call(PUT, 0, 9, 1),
        Call(PUT, 0, 9, 2),
        Call(GET, 1, 2, result=1),
        Call(GET, 3, 4, result=2),
        Call(GET, 5, 6, result=1),
    ],
}
POSSIBLE = {
    "nothing": [],
    "read beside a write, before it": [Call(PUT, 0, 3, 1), Call(GET, 1, 2, result=ABSENT)],
    "read beside a write, after it": [Call(PUT, 0, 3, 1), Call(GET, 1, 2, result=1)],
    "one of two defaults": [Call(SETDEFAULT, 0, 3, 1, result=2), Call(SETDEFAULT, 1, 2, 2)],
    "one pops, one finds nothing": [Call(PUT, 0, 1, 1), Call(POP, 2, 5, result=1), Call(POP, 3, 4)],
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_have_happened_is_refused(name: str) -> None:
    assert not is_linearizable(IMPOSSIBLE[name])


@pytest.mark.parametrize("name", POSSIBLE)
def test_what_can_have_happened_is_accepted(name: str) -> None:
    assert is_linearizable(POSSIBLE[name])


def test_a_search_without_end_is_no_answer() -> None:
    calls = [Call(PUT, 0, 100, value) for value in range(1, 30)] + [Call(GET, 1, 99, result=77)]
    calls += [Call(GET, 0, 100, result=value) for value in range(1, 30)]
    with pytest.raises(Undecided):
        is_linearizable(calls, most_steps=1000)


def happened(numbers: random.Random, count: int) -> list[Call]:
    """Calls whose moments of effect lie in order, each within its bounds."""
    calls, state = [], ABSENT
    for at in range(10, 10 * count + 10, 10):
        kind = numbers.randrange(5)
        argument = at if kind in (PUT, SETDEFAULT) else ABSENT
        result = state if kind in (GET, POP, SETDEFAULT) else ABSENT
        call = Call(kind, at - numbers.randrange(60), at + numbers.randrange(60), argument, result)
        after = step(state, call)
        assert after is not None
        state = after
        calls.append(call)
    numbers.shuffle(calls)
    return calls


@pytest.mark.parametrize("seed", range(20))
def test_long_histories_that_happened_are_accepted(seed: int) -> None:
    assert is_linearizable(happened(random.Random(seed), 400), most_steps=2000)


def by_brute_force(calls: list[Call]) -> bool:
    for order in permutations(calls):
        state: int | None = ABSENT
        for at, call in enumerate(order):
            if state is None or any(later.ended < call.began for later in order[at + 1 :]):
                break
            state = step(state, call)
        else:
            if state is not None:
                return True
    return False


@st.composite
def few_calls(draw: st.DrawFn) -> list[Call]:
    calls = []
    for number in range(1, 1 + draw(st.integers(0, 6))):
        kind, began = draw(st.integers(0, 4)), draw(st.integers(0, 8))
        argument = number if kind in (PUT, SETDEFAULT) else ABSENT
        result = draw(st.integers(0, 6)) if kind in (GET, POP, SETDEFAULT) else ABSENT
        calls.append(Call(kind, began, began + draw(st.integers(0, 6)), argument, result))
    return calls


@settings(max_examples=500, derandomize=True, deadline=None)
@given(few_calls())
def test_the_search_agrees_with_brute_force(calls: list[Call]) -> None:
    assert is_linearizable(calls) == by_brute_force(calls)


@pytest.mark.parametrize("seed", range(300))
def test_the_search_agrees_with_brute_force_where_one_result_is_wrong(seed: int) -> None:
    numbers = random.Random(seed)
    calls = happened(numbers, 6)
    at = numbers.randrange(len(calls))
    if calls[at].kind in (GET, POP, SETDEFAULT):
        calls[at] = replace(calls[at], result=numbers.choice([ABSENT, 10, 20, 30, 40, 50]))
    assert is_linearizable(calls) == by_brute_force(calls)


def test_a_history_in_which_a_value_is_written_twice_is_refused() -> None:
    with pytest.raises(ValueError):
        is_linearizable([Call(PUT, 0, 1, 5), Call(PUT, 2, 3, 5)])
