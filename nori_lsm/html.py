"""What notebooks show of engines, stats and slots: static HTML with inline SVG, no script, everything escaped.

Text and lines take the page's own colour (currentColor), and the colours of areas are of middle lightness, so that all
is readable on light and on dark pages. Nothing here does I/O, and nothing raises: what cannot be drawn is shown as its
repr.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from html import escape
from typing import TYPE_CHECKING, TypeVar

from nori_lsm._terminal import format_bytes, format_key

if TYPE_CHECKING:
    from nori_lsm._core import Engine
    from nori_lsm.stats import Slot, SlotList, Stats

__all__ = ["engine", "heat_color", "slots", "stats", "table"]

_T = TypeVar("_T")

_SHOWN_CHARACTERS = 64
_WIDTH = 760
_LABEL = 96  # Left of the drawings.
_MAX_CELLS = 240  # A level of more slots is drawn in groups of neighbours.
_MAX_LINES = 200  # Of a table of slots.
_COLD, _HOT = (0x6F, 0x93, 0xB8), (0xE4, 0x57, 0x2E)
_CAUSES = (
    ("log", "wal_bytes_written", "#8b8f98"),
    ("flush", "flush_bytes_written", "#3f9c7a"),
    ("compaction", "compaction_bytes_written", "#d08a2e"),
    ("manifest", "manifest_bytes_written", "#9a6fb0"),
)
_ZONE_COLORS = {"green": "#3f9c7a", "yellow": "#c9a227", "orange": "#d9772b", "red": "#cf3f3f"}

_STYLE = """<style>
.nori{font:13px/1.45 system-ui,sans-serif;color:inherit;max-width:800px}
.nori svg{display:block;max-width:100%;height:auto;margin:6px 0}
.nori svg text{fill:currentColor;font:11px system-ui,sans-serif}
.nori .tiles{display:flex;flex-wrap:wrap;gap:8px;margin:6px 0}
.nori .tile{border:1px solid #8888;border-radius:6px;padding:4px 10px;min-width:84px}
.nori .tile b{display:block;font-size:17px}
.nori .tile span,.nori .faint{opacity:.72}
.nori table{border-collapse:collapse;margin:6px 0;color:inherit;background:none}
.nori th,.nori td{padding:1px 8px;text-align:right;border-bottom:1px solid #8884;background:none;color:inherit}
.nori th:first-child,.nori td:first-child{text-align:left}
.nori summary{cursor:pointer;opacity:.8}
@media (prefers-color-scheme:dark){.nori .tile{border-color:#aaa8}}
</style>"""


# ---------------------------------------------------------------- parts


def _never_raising(draw: Callable[[_T], str]) -> Callable[[_T], str]:
    @wraps(draw)
    def guarded(subject: _T) -> str:
        try:
            return draw(subject)
        except Exception:
            try:
                return f"<code>{escape(repr(subject))}</code>"
            except Exception:
                return f"<code>{escape(type(subject).__name__)}</code>"

    return guarded


def _escape(text: str) -> str:
    """Of names that are not UTF-8 too."""
    return escape(text.encode("utf-8", "backslashreplace").decode())


def _share(value: float) -> float:
    return 0.0 if math.isnan(value) else min(max(value, 0.0), 1.0)


def _number(value: float) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "∞" if value == math.inf else "–" if math.isnan(value) else f"{value:.4g}"


def _cell(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = _number(value)
    elif isinstance(value, bytes):
        text = format_key(value)
    else:
        text = "" if value is None else value if isinstance(value, str) else repr(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return _escape(text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns of an empty head get no header line."""
    lines = ["<table>"]
    if any(head):
        lines.append("<thead><tr>" + "".join(f"<th>{_cell(name)}</th>" for name in head) + "</tr></thead>")
    lines.append("<tbody>")
    lines += ["<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</tbody>", "</table>"])


def heat_color(heat: float) -> str:
    """From cold to hot, 0 to 1."""
    share = _share(heat)
    return "#" + "".join(f"{round(cold + (hot - cold) * share):02x}" for cold, hot in zip(_COLD, _HOT, strict=True))


def _rect(x: float, y: float, width: float, height: float, fill: str, more: str = "", title: str = "") -> str:
    inside = f"<title>{_escape(title)}</title>" if title else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" fill="{fill}"{more}>{inside}</rect>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" font-size="11" '
        f'font-family="system-ui,sans-serif">{_escape(text)}</text>'
    )


def _svg(height: float, parts: Iterable[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" role="img" aria-label="{_escape(label)}">' + "".join(parts) + "</svg>"
    )


def _tiles(tiles: Iterable[tuple[str, str]]) -> str:
    boxes = "".join(f'<div class="tile"><b>{_escape(value)}</b><span>{_escape(name)}</span></div>' for name, value in tiles)
    return f'<div class="tiles">{boxes}</div>'


def _page(*parts: str) -> str:
    return '<div class="nori">' + _STYLE + "".join(parts) + "</div>"


# ---------------------------------------------------------------- stats


def _draw_written(of: Stats) -> str:
    """What was written and why, as multiples of what the user put."""
    user = of.user_bytes_written
    amounts = [(name, max(0, getattr(of, field)), color) for name, field, color in _CAUSES]
    total = sum(amount for _, amount, _ in amounts)
    room = _WIDTH - _LABEL - 8
    parts = [_text(0, 17, "written"), _text(0, 43, "put")]
    scale = room / max(total, user, 1)
    x = float(_LABEL)
    for name, amount, color in amounts:
        parts.append(_rect(x, 4, amount * scale, 18, color, title=f"{name}: {format_bytes(amount)}"))
        x += amount * scale
    parts.append(_rect(_LABEL, 30, user * scale, 18, "currentColor", ' fill-opacity="0.35"', f"put: {format_bytes(user)}"))
    x = 0.0
    for name, amount, color in amounts:
        legend = f"{name} {format_bytes(amount)}" + (f" ({amount / user:.2f}×)" if user else "")
        parts += [_rect(x, 58, 9, 9, color), _text(x + 13, 67, legend)]
        x += _WIDTH / len(amounts)
    return _svg(74, parts, "bytes written by cause")


def _draw_pressure(of: Stats) -> str:
    room = _WIDTH - _LABEL - 150
    color = _ZONE_COLORS.get(of.zone, "#8b8f98")
    score = _share(of.pressure)
    parts = [_text(0, 16, "pressure"), _rect(_LABEL, 5, room, 14, "currentColor", ' fill-opacity="0.12"')]
    parts.append(_rect(_LABEL, 5, room * score, 14, color, title=f"score {of.pressure:.3f}"))
    for bound in (0.5, 0.75, 0.9):
        x = _LABEL + room * bound
        parts.append(f'<line x1="{x:.1f}" y1="2" x2="{x:.1f}" y2="22" stroke="currentColor" stroke-opacity="0.5"/>')
    parts.append(_text(_LABEL + room + 8, 16, f"{of.pressure:.2f}  {of.zone}"))
    return _svg(26, parts, "pressure")


def _stats_inside(of: Stats) -> str:
    parts = [
        _tiles(
            [
                ("write amplification", f"{_number(of.write_amp)}×"),
                ("runs per get", _number(of.read_amp)),
                ("blocks per get", _number(of.blocks_per_get)),
                ("space amplification", f"{_number(of.space_amp)}×"),
                ("on disk", format_bytes(of.bytes_on_disk)),
                ("level 0 files", _number(of.l0_files)),
            ]
        ),
        _draw_written(of),
        _draw_pressure(of),
    ]
    if of.poisoned is not None:
        parts.append(f"<p><b>Writing has stopped:</b> {_escape(of.poisoned)}</p>")
    timed = [(op, times) for op, times in of.latency_micros.items() if times.get("count")]
    if timed:
        names = ("count", "p50", "p95", "p99", "p999", "max")
        parts.append(table(("µs", *names), [[op, *(times.get(name, math.nan) for name in names)] for op, times in timed]))
    shown = {name: value for name, value in of.to_dict().items() if name != "latency_micros"}
    parts.append("<details><summary>All counters</summary>" + table(("", ""), list(shown.items())) + "</details>")
    return "".join(parts)


@_never_raising
def stats(of: Stats) -> str:
    return _page(_stats_inside(of))


# ---------------------------------------------------------------- slots


def _groups(level: Sequence[Slot]) -> list[Sequence[Slot]]:
    step = -(-len(level) // _MAX_CELLS)
    return [level[at : at + step] for at in range(0, len(level), step)]


def _describe(group: Sequence[Slot]) -> str:
    first, last = group[0], group[-1]
    stop = "end" if last.stop is None else format_key(last.stop, 24)
    lines = [f"[{format_key(first.start, 24)}, {stop})"]
    if len(group) > 1:
        lines.append(f"{len(group)} slots")
    runs, k_max = max(slot.runs for slot in group), max(slot.k_max for slot in group)
    lines.append(f"{runs} runs of at most {k_max}, {first.mode}")
    lines.append(f"{format_bytes(sum(slot.bytes for slot in group))}, {sum(slot.entries for slot in group):,} entries")
    lines.append(f"heat {max(slot.heat for slot in group):.2f}")
    return "\n".join(lines)


def _draw_cell(group: Sequence[Slot], x: float, y: float, width: float, height: float) -> list[str]:
    """Places for as many runs as the slot may hold, those it holds filled from below."""
    runs, k_max = max(slot.runs for slot in group), max(slot.k_max for slot in group)
    places = max(runs, k_max, 1)
    step = height / places
    inner = max(width - 1, 0.6)
    frame = ' stroke="currentColor" stroke-opacity="0.25"' if width >= 3 else ""
    parts = [_rect(x, y, inner, height, "currentColor", f' fill-opacity="0.07"{frame}', _describe(group))]
    color = heat_color(max(slot.heat for slot in group))
    for run in range(runs):
        parts.append(
            _rect(x, y + height - (run + 1) * step + 0.5, inner, max(step - 1, 0.5), color, ' pointer-events="none"')
        )
    return parts


def _draw_level(level: Sequence[Slot], y: float, height: float) -> list[str]:
    groups = _groups(level)
    room = _WIDTH - _LABEL - 8
    total = max(1, sum(slot.bytes for slot in level))
    least = min(3.0, room / len(groups))
    scale = (room - least * len(groups)) / total
    size = format_bytes(sum(slot.bytes for slot in level))
    parts = [_text(0, y + 14, f"level {level[0].level}"), _text(0, y + 28, size)]
    parts.append(_text(0, y + 42, f"{len(level)} slot{'s' if len(level) != 1 else ''}"))
    x = float(_LABEL)
    for group in groups:
        width = least + sum(slot.bytes for slot in group) * scale
        parts += _draw_cell(group, x, y, width, height)
        x += width
    return parts


def _draw_legend(y: float) -> list[str]:
    parts = [_text(_LABEL, y + 9, "cold")]
    parts += [_rect(_LABEL + 28 + step * 8, y, 8, 10, heat_color(step / 9)) for step in range(10)]
    parts.append(_text(_LABEL + 114, y + 9, "hot"))
    parts.append(_text(_LABEL + 150, y + 9, "width: bytes; height: runs, of as many as the slot may hold"))
    return parts


def _slots_inside(of: SlotList) -> str:
    if not of:
        return '<p class="faint">No slots: all is in memtables and level 0.</p>'
    levels = {number: [slot for slot in of if slot.level == number] for number in sorted({slot.level for slot in of})}
    height = 46.0
    parts: list[str] = []
    for place, level in enumerate(levels.values()):
        parts += _draw_level(level, place * (height + 8) + 2, height)
    bottom = len(levels) * (height + 8) + 6
    drawing = _svg(bottom + 16, [*parts, *_draw_legend(bottom)], "slots by level")
    names = "level slot_id start stop runs k_max mode files bytes entries heat read_heat write_heat scan_heat tombstone_density".split()
    lines = [[getattr(slot, name) for name in names] for slot in of[:_MAX_LINES]]
    more = f'<p class="faint">and {len(of) - _MAX_LINES:,} more</p>' if len(of) > _MAX_LINES else ""
    return drawing + f"<details><summary>{len(of)} slots</summary>{table(names, lines)}{more}</details>"


@_never_raising
def slots(of: SlotList) -> str:
    return _page(_slots_inside(of))


# ---------------------------------------------------------------- the engine


@_never_raising
def engine(db: Engine) -> str:
    """Where the engine is, and while it is open its numbers and its slots."""
    from nori_lsm._core import Error

    state = "closed" if db.closed else "open, read only" if db.read_only else "open"
    about = f"<p><b>{_escape(db.path)}</b> <span class='faint'>{state}</span></p>"
    try:
        inside = _stats_inside(db.stats()) + _slots_inside(db.slots())
    except (Error, OSError):
        inside = ""
    return _page(about, inside)
