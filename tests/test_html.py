"""What notebooks show: well formed, escaped, without script, and never an exception."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
from nori_lsm import Slot, SlotList, Stats, html
from nori_lsm.testing import SimDisk
from tests_support import SMALL, fill

EVIL = b"<script>alert('&\"')</script>\x00\xff]]>"


def raw_counters(**changed: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {spec.name: 0 for spec in dataclasses.fields(Stats)}
    for name in ("write_amp", "read_amp", "space_amp", "wal_write_amp", "blocks_per_get"):
        del raw[name]
    return {**raw, "zone": "green", "poisoned": None, "pressure": 0.0, "latency_micros": {}, **changed}


def make_slot(**changed: Any) -> Slot:
    values: dict[str, Any] = {spec.name: 0 for spec in dataclasses.fields(Slot)}
    return Slot(**{**values, "level": 1, "start": b"", "stop": None, "mode": "leveled", **changed})


class Checker(HTMLParser):
    """Every tag is closed in order; nothing that runs or loads."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "img", "link", "object")
        for name, value in attrs:
            assert not name.startswith("on") and name not in ("src", "href"), name
            assert "http" not in (value or "") or name == "xmlns"
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def check(shown: str) -> str:
    """The text of a page that is as it must be."""
    checker = Checker()
    checker.feed(shown)
    checker.close()
    assert checker.open == []
    drawings = re.findall(r"<svg.*?</svg>", shown, re.DOTALL)
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        for element in root.iter():
            for name in ("x", "y", "width", "height"):
                assert math.isfinite(float(element.get(name, "0")))
                assert float(element.get(name, "0")) >= 0
            assert float(element.get("x", "0")) + float(element.get("width", "0")) <= 761
    return "".join(checker.texts)


@pytest.fixture
def filled(disk: SimDisk) -> Iterator[nori_lsm.Engine]:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        fill(db)
        db.flush()
        yield db


def test_an_engine_shows_numbers_and_slots_and_closed_where_it_was(path: Path) -> None:
    db = nori_lsm.open(path, **SMALL)
    check(db._repr_html_())
    fill(db)
    db.flush()
    db.compact()
    text = check(db._repr_html_())
    for expected in (str(path), "write amplification", "level ", "pressure", "compaction", "bytes_on_disk"):
        assert expected in text
    assert "<svg" in db._repr_html_() and "currentColor" in db._repr_html_()
    assert "prefers-color-scheme" in db._repr_html_()
    db.close()
    text = check(db._repr_html_())
    assert str(path) in text and "closed" in text


def test_a_dead_and_a_read_only_engine_are_shown(path: Path, disk: SimDisk) -> None:
    nori_lsm.open(path).close()
    with nori_lsm.open(path, read_only=True) as db:
        assert "read only" in check(db._repr_html_())
    dead = nori_lsm.open("/db", env=disk)
    disk.crash()
    check(dead._repr_html_())
    dead.close()


def test_stats_and_their_difference_are_shown(filled: nori_lsm.Engine) -> None:
    earlier = filled.stats()
    text = check(earlier._repr_html_())
    assert "write_amp" in text and "p99" in text
    filled.get(b"a")
    check((filled.stats() - earlier)._repr_html_())
    check((earlier - filled.stats())._repr_html_())


def test_no_numbers_stop_the_drawing() -> None:
    check(Stats.from_counters(raw_counters())._repr_html_())
    odd = raw_counters(bytes_on_disk=1, pressure=math.nan, zone="purple", poisoned="<b>gone</b>", flush_bytes_written=-5)
    shown = Stats.from_counters(odd)._repr_html_()
    assert "<b>gone" not in shown
    check(shown)
    check(SlotList([])._repr_html_())
    check(SlotList([make_slot(heat=math.nan, runs=0, k_max=0)])._repr_html_())
    check(SlotList([make_slot(heat=7.0, bytes=1 << 50, runs=9, k_max=2), make_slot(heat=-1.0)])._repr_html_())


def test_keys_are_escaped() -> None:
    shown = SlotList([make_slot(start=EVIL, stop=EVIL, runs=2, k_max=4)])._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    check(shown)


def test_thousands_of_slots_stay_a_page() -> None:
    many = SlotList(make_slot(slot_id=number, start=b"%06d" % number, bytes=1000, runs=3, k_max=4) for number in range(20000))
    shown = many._repr_html_()
    check(shown)
    assert len(shown) < 500_000


def test_a_hot_slot_has_another_colour() -> None:
    assert html.heat_color(0.0) != html.heat_color(0.5) != html.heat_color(1.0)
    assert html.heat_color(-3.0) == html.heat_color(0.0) and html.heat_color(9.0) == html.heat_color(1.0)
    shown = SlotList([make_slot(heat=0.5, runs=1, k_max=1, bytes=1)])._repr_html_()
    assert html.heat_color(0.5) in shown


def test_what_cannot_be_drawn_is_named() -> None:
    class Broken:
        def __repr__(self) -> str:
            return "<broken>"

    assert html.stats(Broken()) == "<code>&lt;broken&gt;</code>"  # type: ignore[arg-type]
    assert html.engine(None) == "<code>None</code>"  # type: ignore[arg-type]


# ---------------------------------------------------------------- the same on a terminal


def test_the_command_line_shows_tables_once_and_live(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nori_lsm import cli

    with nori_lsm.open(path, **SMALL) as db:
        fill(db)
        db.flush()
        db.compact()
        assert cli.main(["stats", str(path), "--watch", "--interval", "0.01", "--times", "2"]) == 0
        live = capsys.readouterr().out
        assert live.count("space amplification") == 2 and "level" in live and "heat" in live
    assert cli.main(["stats", str(path)]) == 0
    shown = capsys.readouterr().out
    for expected in ("amplification", "per byte put", "compaction", "tiered", "bytes_on_disk"):
        assert expected in shown
    assert cli.main(["stats", str(path / "nothing"), "--watch", "--times", "1"]) == 1
