"""Pictures: each can be drawn from a recording, from one moment and from nothing; and the notebook runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
from nori_lsm import Recorder, SlotList
from tests_support import SMALL, fill

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from nori_lsm import plot  # noqa: E402

TOP = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


@pytest.fixture
def recording(path: Path) -> Iterator[tuple[nori_lsm.Engine, Recorder]]:
    with nori_lsm.open(path, **SMALL) as db:
        recorder = db.record()
        recorder.sample()
        for _ in range(3):
            fill(db, 1500)
            for number in range(100):
                db.get(b"%08d" % number)
            recorder.sample()
        db.flush()
        db.compact()
        recorder.sample()
        yield db, recorder


def painted(axes: Any) -> int:
    """How many bytes its figure takes as PNG: it can be drawn."""
    import io

    file = io.BytesIO()
    axes.figure.savefig(file, dpi=40)
    return len(file.getvalue())


def test_every_picture_is_drawn_on_the_axes_it_is_given(recording: tuple[nori_lsm.Engine, Recorder]) -> None:
    db, recorder = recording
    for draw, source in (
        (plot.heat, recorder),
        (plot.heat, db.slots()),
        (plot.amplification, recorder),
        (plot.written, recorder),
        (plot.written, db.stats()),
        (plot.tree, db),
        (plot.tree, db.slots()),
        (plot.decisions, db),
        (plot.decisions, recorder),
        (plot.decisions, db.decisions()),
    ):
        axes = pyplot.figure().subplots()
        assert draw(source, axes) is axes  # type: ignore[operator]
        assert painted(axes) > 1000
        assert painted(draw(source)) > 1000  # type: ignore[operator]


def test_a_recording_is_drawn_as_a_whole(recording: tuple[nori_lsm.Engine, Recorder]) -> None:
    figure = recording[1].plot()
    assert len(figure.axes) >= 4


def test_heat_is_drawn_where_the_key_lies(recording: tuple[nori_lsm.Engine, Recorder]) -> None:
    slots = recording[0].slots()
    level = [slot for slot in slots if slot.level == slots[-1].level]
    hot = SlotList(dataclasses.replace(slot, heat=1.0 if slot is level[-1] else 0.0) for slot in level)
    bars = plot.heat(hot).patches
    assert bars[len(level) - 1].get_height() == 1.0 and bars[0].get_height() == 0.0


def test_explored_and_rewarded_decisions_are_drawn(recording: tuple[nori_lsm.Engine, Recorder]) -> None:
    some = [
        dataclasses.replace(decision, explored=place % 2 == 0, realised_reward=0.5)
        for place, decision in enumerate(recording[0].decisions())
    ]
    assert painted(plot.decisions(some)) > 1000


def test_an_empty_engine_is_drawn(db: nori_lsm.Engine) -> None:
    recorder = db.record()
    with pytest.raises(ValueError, match="no rows"):
        plot.heat(recorder)
    recorder.sample()
    assert len(recorder.plot().axes) >= 4
    for axes in (plot.heat(db.slots()), plot.tree(db), plot.decisions(db), plot.written(db.stats())):
        assert painted(axes) > 1000


def test_pictures_say_what_they_need() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import nori_lsm, nori_lsm.plot\n"
        "try:\n    nori_lsm.plot.heat([])\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "nori-lsm[plot]" in done.stdout


def test_importing_the_package_draws_nothing() -> None:
    program = "import sys, nori_lsm, nori_lsm.plot; sys.exit(bool({'matplotlib', 'pandas'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((TOP / "docs" / "explore.ipynb").read_text("utf-8"))
    assert notebook["nbformat"] == 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    try:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), "explore.ipynb", "exec"), names)
    finally:
        if "db" in names:
            names["db"].close()
    assert names["db"].closed
    assert len(names["recorder"]) > 2 and names["slots"]
