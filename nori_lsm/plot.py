"""Pictures of what an engine does, with matplotlib: Axes in, Axes out. Without `ax` each makes a figure of its own.

>>> with db.record(0.2) as recorder:
...     work()
>>> nori_lsm.plot.heat(recorder)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import ceil, log2
from typing import TYPE_CHECKING, Any, Union

from nori_lsm._terminal import format_bytes, format_key
from nori_lsm.html import heat_color
from nori_lsm.recorder import Recorder, Row
from nori_lsm.stats import Slot, Stats

if TYPE_CHECKING:
    from nori_lsm._core import Engine
    from nori_lsm.events import Decision

__all__ = ["amplification", "decisions", "heat", "overview", "tree", "written"]

Axes = Any
Figure = Any
Source = Union["Engine", Recorder]

_COLORS = {"log": "#8b8f98", "flush": "#3f9c7a", "compaction": "#d08a2e", "manifest": "#9a6fb0"}
_FIELDS = {
    "log": "wal_bytes_written",
    "flush": "flush_bytes_written",
    "compaction": "compaction_bytes_written",
    "manifest": "manifest_bytes_written",
}
_ACTION_COLORS = {
    "admit": "#3f7fbf",
    "merge_l0": "#8b8f98",
    "tier": "#3f9c7a",
    "promote": "#d08a2e",
    "level": "#e4572e",
    "space": "#6b4f3f",
    "clean": "#9a6fb0",
    "split": "#b8a13a",
    "join": "#d98fb0",
}


def _new_axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    return _pyplot().subplots(figsize=(8.0, 3.6), layout="constrained")[1]


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError("nori_lsm.plot needs matplotlib: pip install 'nori-lsm[plot]'") from error
    return pyplot


def _rows(recorder: Recorder) -> list[Row]:
    rows = recorder.rows
    if not rows:
        raise ValueError("the recorder has no rows yet")
    return rows


def _say_empty(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, alpha=0.7)


def _heat_map() -> Any:
    from matplotlib.colors import LinearSegmentedColormap  # type: ignore[import-not-found, unused-ignore]

    return LinearSegmentedColormap.from_list("nori_heat", [heat_color(step / 8) for step in range(9)])


# ---------------------------------------------------------------- heat


def heat(source: Recorder | Sequence[Slot], ax: Axes | None = None, *, level: int | None = None) -> Axes:
    """Heat by key, of one level (default: the shallowest that has slots).

    Of a recorder: over time, keys upwards. Of slots: one bar each, with the most runs it may hold as steps.
    """
    _pyplot()
    if isinstance(source, Recorder):
        return _heat_over_time(_rows(source), _new_axes(ax), level)
    return _heat_of_slots(_of_level(source, level), _new_axes(ax))


def _of_level(slots: Iterable[Slot], level: int | None) -> list[Slot]:
    slots = list(slots)
    if level is None and slots:
        level = min(slot.level for slot in slots)
    return [slot for slot in slots if slot.level == level]


def _heat_of_slots(slots: Sequence[Slot], ax: Axes) -> Axes:
    if not slots:
        _say_empty(ax, "no slots: all is in memtables and level 0")
        return ax
    places = range(len(slots))
    ax.bar(places, [slot.heat for slot in slots], width=0.9, color=[heat_color(slot.heat) for slot in slots])
    ax.set_ylim(0, 1.05)
    ax.set_ylabel("heat")
    ax.set_xlabel(f"slots of level {slots[0].level}, by key")
    _label_keys(ax.xaxis, [slot.start for slot in slots])
    runs = ax.twinx()
    runs.step(places, [slot.k_max for slot in slots], where="mid", color="#3f7fbf", linewidth=1.4)
    runs.set_ylim(0, max(slot.k_max for slot in slots) + 0.5)
    runs.yaxis.get_major_locator().set_params(integer=True)
    runs.set_ylabel("most runs (K)", color="#3f7fbf")
    return ax


def _heat_over_time(rows: Sequence[Row], ax: Axes, level: int | None) -> Axes:
    if level is None:
        level = min((slot.level for row in rows for slot in row.slots), default=1)
    guards = sorted({slot.start for row in rows for slot in row.slots if slot.level == level})
    if not guards:
        _say_empty(ax, "no slots: all is in memtables and level 0")
        return ax
    edges = [row.seconds for row in rows]
    edges.append(edges[-1] + (edges[-1] - edges[0]) / max(1, len(rows) - 1) if len(rows) > 1 else edges[-1] + 1)
    columns = [_heat_by_guard(row.slots, level, guards) for row in rows]
    grid = [[column[place] for column in columns] for place in range(len(guards))]
    mesh = ax.pcolormesh(edges, range(len(guards) + 1), grid, cmap=_heat_map(), vmin=0, vmax=1)
    ax.figure.colorbar(mesh, ax=ax, label="heat")
    ax.set_xlabel("seconds")
    ax.set_ylabel(f"keys of level {level}")
    _label_keys(ax.yaxis, guards)
    return ax


def _heat_by_guard(slots: Iterable[Slot], level: int, guards: Sequence[bytes]) -> list[float]:
    """The heat of the slot that covers each of the guards; NaN where there was none yet."""
    heats = [float("nan")] * len(guards)
    for slot in slots:
        if slot.level != level:
            continue
        stop = len(guards) if slot.stop is None else bisect_left(guards, slot.stop)
        for place in range(bisect_left(guards, slot.start), stop):
            heats[place] = slot.heat
    return heats


def _label_keys(axis: Any, keys: Sequence[bytes]) -> None:
    step = -(-len(keys) // 6)
    places = list(range(0, len(keys), step))
    axis.set_ticks(places, [format_key(keys[place], 14).replace("$", r"\$") or "(first)" for place in places])
    axis.set_tick_params(labelsize=8)


# ---------------------------------------------------------------- amplification and bytes


def amplification(recorder: Recorder, ax: Axes | None = None) -> Axes:
    """Write, read and space amplification since open, over time."""
    _pyplot()
    rows, ax = _rows(recorder), _new_axes(ax)
    seconds = [row.seconds for row in rows]
    for field, label, color in (
        ("write_amp", "write", _COLORS["compaction"]),
        ("read_amp", "read (runs per get)", "#3f7fbf"),
        ("space_amp", "space", _COLORS["flush"]),
    ):
        ax.plot(seconds, [getattr(row.stats, field) for row in rows], label=label, color=color, marker=".", markersize=3)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("seconds")
    ax.set_ylabel("amplification")
    ax.legend(loc="best", fontsize=8)
    return ax


def written(source: Recorder | Stats, ax: Axes | None = None) -> Axes:
    """Bytes written by cause: of a recorder since its first row, over time, with what was put; of stats as bars."""
    _pyplot()
    ax = _new_axes(ax)
    if isinstance(source, Stats):
        amounts = [getattr(source, field) for field in _FIELDS.values()]
        bars = ax.barh([*_FIELDS, "put"], [*amounts, source.user_bytes_written], color=[*_COLORS.values(), "#bbbbbb"])
        ax.bar_label(bars, [" " + format_bytes(amount) for amount in (*amounts, source.user_bytes_written)], fontsize=8)
        ax.invert_yaxis()
        ax.margins(x=0.18)
    else:
        rows = _rows(source)
        since = [row.stats - rows[0].stats for row in rows]
        series = [[getattr(stats, field) for stats in since] for field in _FIELDS.values()]
        seconds = [row.seconds for row in rows]
        ax.stackplot(seconds, series, labels=list(_FIELDS), colors=list(_COLORS.values()), alpha=0.9)
        ax.plot(seconds, [stats.user_bytes_written for stats in since], color="black", linestyle="--", label="put")
        ax.set_xlabel("seconds")
        ax.legend(loc="upper left", fontsize=8)
    _in_bytes(ax.xaxis if isinstance(source, Stats) else ax.yaxis)
    return ax


def _in_bytes(axis: Any) -> None:
    from matplotlib.ticker import MultipleLocator  # type: ignore[import-not-found, unused-ignore]

    most = max(1.0, *map(abs, axis.get_view_interval()))
    axis.set_major_locator(MultipleLocator(2.0 ** ceil(log2(most / 5))))
    axis.set_major_formatter(lambda value, _: format_bytes(value))
    axis.set_label_text("written")


# ---------------------------------------------------------------- slots and decisions


def tree(source: Engine | Iterable[Slot], ax: Axes | None = None) -> Axes:
    """Levels from the top, slots as wide as their bytes, as high as the runs they hold of those they may."""
    _pyplot()
    slots = list(source if isinstance(source, (list, tuple)) else source.slots())  # type: ignore[union-attr]
    ax = _new_axes(ax)
    if not slots:
        _say_empty(ax, "no slots: all is in memtables and level 0")
        return ax
    levels = sorted({slot.level for slot in slots})
    for place, level in enumerate(levels):
        mine = [slot for slot in slots if slot.level == level]
        total, x = max(1, sum(slot.bytes for slot in mine)), 0.0
        for slot in mine:
            width, places = slot.bytes / total, max(slot.runs, slot.k_max, 1)
            ax.bar(x, 0.86, width, place + 0.07, align="edge", color="none", edgecolor="#9998", linewidth=0.5)
            for run in range(slot.runs):
                ax.bar(
                    x,
                    0.86 / places,
                    width,
                    place + 0.93 - (run + 1) * 0.86 / places,
                    align="edge",
                    color=heat_color(slot.heat),
                    edgecolor="white",
                    linewidth=0.5,
                )
            x += width
    sizes = [sum(slot.bytes for slot in slots if slot.level == level) for level in levels]
    ax.set_yticks(
        [place + 0.5 for place in range(len(levels))],
        [f"level {level}\n{format_bytes(size)}" for level, size in zip(levels, sizes, strict=True)],
    )
    ax.set_ylim(len(levels), 0)
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the level's bytes, by key")
    return ax


def decisions(source: Source | Iterable[Decision], ax: Axes | None = None) -> Axes:
    """Each choice at its time: what it promised as a dot, hollow where it was explored; what came of it as a cross."""
    _pyplot()
    ax = _new_axes(ax)
    if isinstance(source, Recorder):
        chosen: list[Decision] = list(source.decisions)
    elif isinstance(source, (list, tuple)):
        chosen = list(source)
    else:
        chosen = source.decisions()  # type: ignore[union-attr]
    if not chosen:
        _say_empty(ax, "nothing was chosen yet")
        return ax
    begun = chosen[0].seconds
    for action in dict.fromkeys(decision.action for decision in chosen):
        mine = [decision for decision in chosen if decision.action == action]
        color = _ACTION_COLORS.get(action, "#555555")
        ax.scatter(
            [decision.seconds - begun for decision in mine],
            [decision.predicted_reward for decision in mine],
            s=[12 + 40 * min(1.0, decision.bytes / (32 << 20)) for decision in mine],
            facecolors=["none" if decision.explored else color for decision in mine],
            edgecolors=color,
            label=f"{action} ({len(mine)})",
        )
        known = [decision for decision in mine if decision.realised_reward == decision.realised_reward]
        ax.scatter(
            [decision.seconds - begun for decision in known],
            [decision.realised_reward for decision in known],
            s=18,
            marker="x",
            color=color,
        )
    ax.set_yscale("symlog", linthresh=1)
    ax.set_xlabel("seconds since the first choice")
    ax.set_ylabel("reward")
    ax.legend(loc="best", fontsize=8, ncols=2)
    return ax


def overview(recorder: Recorder) -> Figure:
    """Heat, amplification, bytes by cause and decisions of a recording, in one figure."""
    figure, axes = _pyplot().subplots(2, 2, figsize=(12.0, 7.0), layout="constrained")
    heat(recorder, axes[0][0]).set_title("heat")
    amplification(recorder, axes[0][1]).set_title("amplification")
    written(recorder, axes[1][0]).set_title("written, by cause")
    decisions(recorder, axes[1][1]).set_title("decisions")
    return figure
