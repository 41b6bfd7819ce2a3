"""Runs cells one after the other; stores take turns within a workload."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.runner import ROOT, Results, extra_paths, machine

from .spec import Spec

CELL_TIMEOUT_SECS = 3600


def versions(engines: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import version

    import nori_lsm

    found = {}
    for name in engines:
        try:
            rocks = version("rocksdict") if name.startswith("rocksdb") else ""
        except ImportError:
            print(f"{name}: rocksdict is not installed, left out", file=sys.stderr)
            continue
        found[name] = rocks or str(getattr(nori_lsm, "__version__", "source"))
    return found


def run_one(spec: Spec) -> tuple[dict[str, Any] | None, str | None]:
    command = [sys.executable, "-m", "benchmarks.atll.worker", json.dumps(asdict(spec))]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join([str(ROOT), *extra_paths()])}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=CELL_TIMEOUT_SECS)
    except subprocess.TimeoutExpired:
        return None, f"no end after {CELL_TIMEOUT_SECS} s"
    if done.returncode == 0:
        return json.loads(done.stdout), None
    return None, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"


def run(
    engines: Sequence[str],
    workloads: Sequence[str],
    rounds: int,
    settings: dict[str, Any],
    spec_of: Callable[[str, str, int], Spec],
    save: Callable[[Results], None],
) -> Results:
    found = versions(engines)
    results = Results(machine(), found, settings)
    begun = time.monotonic()
    for turn in range(rounds):
        for workload in workloads:
            names = list(found)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                row, failure = run_one(spec_of(name, workload, turn))
                if row:
                    results.rows.append({"engine": name, "workload": workload, "round": turn, **row})
                if failure:
                    results.failures.append({"engine": name, "stage": workload, "round": turn, "error": failure})
                print(
                    f"[{time.monotonic() - begun:5.0f} s] {workload}, {name}: {failure or said(row)}", file=sys.stderr
                )
                save(results)  # After each cell: a long run that is interrupted leaves what it measured.
    return results


def said(row: dict[str, Any] | None) -> str:
    if not row:
        return "nothing"
    space = row["space"].get("max", 0)
    return (
        f"written {row['write_amp']:.2f}, probes {row['probes']['hot']:.2f} hot {row['probes']['cold']:.2f} else, "
        f"space {space:.2f}, {row['rate'] / 1e3:.0f} k/s"
    )
