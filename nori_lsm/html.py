"""Static HTML for notebooks: no script, everything escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nori_lsm._core import Engine
    from nori_lsm.stats import SlotList, Stats

__all__ = ["engine", "table"]

_SHOWN_CHARACTERS = 64


def _cell(value: object) -> str:
    if isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, int) and not isinstance(value, bool):
        text = f"{value:,}"
    else:
        text = "" if value is None else value if isinstance(value, str) else repr(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return html.escape(text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns of an empty head get no header line."""
    lines = ["<table>"]
    if any(head):
        lines.append("<thead><tr>" + "".join(f"<th>{_cell(name)}</th>" for name in head) + "</tr></thead>")
    lines.append("<tbody>")
    lines += ["<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</tbody>", "</table>"])


def engine(db: Engine) -> str:
    """Where the engine is, and while it is open its gauges and slots."""
    from nori_lsm._core import Error

    about = table(["", ""], [["path", db.path], ["state", _state(db)]])
    try:
        stats: Stats = db.stats()
        slots: SlotList = db.slots()
    except (Error, OSError):
        return about
    return about + stats._repr_html_() + slots._repr_html_()


def _state(db: Engine) -> str:
    return "closed" if db.closed else "open, read only" if db.read_only else "open"
