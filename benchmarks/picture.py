"""The ratios as a picture, where matplotlib is installed."""

from pathlib import Path
from statistics import median

from .report import AIMS, best_peer, by_round
from .runner import Results
from .workloads import WORKLOADS

OURS_COLOUR, AIM_COLOUR = "#2a6f97", "#d1495b"


def round_ratios(results: Results, workload: str) -> list[float]:
    peer = best_peer(results, workload)
    if peer is None:
        return []
    ours, theirs = by_round(results, "nori", workload), by_round(results, peer, workload)
    return [ours[turn] / theirs[turn] for turn in ours if turn in theirs]


def draw(results: Results, path: Path) -> None:
    """A bar for each workload with an aim: the median ratio to the best peer, its spread, the aim."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    found = {name: round_ratios(results, name) for name in WORKLOADS if name in AIMS}
    names = [name for name, ratios in found.items() if ratios][::-1]
    if not names:
        return
    figure = Figure(figsize=(8, 1 + 0.28 * len(names)), layout="constrained")
    axes = figure.subplots()
    middles = [median(found[name]) for name in names]
    spread = [
        [middle - min(found[name]) for middle, name in zip(middles, names, strict=True)],
        [max(found[name]) - middle for middle, name in zip(middles, names, strict=True)],
    ]
    axes.barh(names, middles, color=OURS_COLOUR, xerr=spread, ecolor="#555555", label="nori_lsm, median and spread")
    axes.plot([AIMS[name] for name in names], names, "|", color=AIM_COLOUR, markersize=12, mew=2, label="aim")
    axes.axvline(1, color="#888888", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    axes.set_xlabel("rate, times the best peer's")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize="small")
    figure.savefig(path)
