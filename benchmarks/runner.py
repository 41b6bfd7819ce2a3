"""Runs stages, each in a process of its own, engines taking turns."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .engines import ENGINES
from .stage import Spec
from .workloads import NEEDS, STAGES

ROOT = Path(__file__).resolve().parent.parent
STAGE_TIMEOUT_SECS = 600  # Of two million keys; of more, as much more.
TIMELY_KEYS = 2_000_000


@dataclass
class Results:
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)  # Measured, with engine and round.
    failures: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        return cls(**json.loads(path.read_text()))


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def installed(names: Iterable[str]) -> dict[str, str]:
    """The engines that can be imported here, with their versions."""
    found = {}
    for name in names:
        try:
            found[name] = ENGINES[name].version()
        except ImportError:  # PackageNotFoundError too.
            print(f"{name}: not installed, left out (pip install -r benchmarks/requirements.txt)", file=sys.stderr)
    return found


def wanted_stages(workloads: Sequence[str]) -> list[str]:
    """The stages that run the workloads, and those they need, in order."""
    wanted = {stage for stage, (_run, names) in STAGES.items() if set(names) & set(workloads)}
    wanted |= {NEEDS[stage] for stage in wanted if stage in NEEDS}
    return [stage for stage in STAGES if stage in wanted]


def takes_part(name: str, stage: str) -> bool:
    if stage == "memory":
        return ENGINES[name].small_budget is not None
    only = ENGINES[name].workloads
    return only is None or bool(only & set(STAGES[stage][1]))


def run_stage(spec: Spec) -> tuple[list[dict[str, Any]], str | None]:
    """The rows measured, and what went wrong, if anything did."""
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(asdict(spec))]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join([str(ROOT), *extra_paths()])}
    timeout = STAGE_TIMEOUT_SECS * max(spec.count / TIMELY_KEYS, 1)
    try:
        done = subprocess.run(
            command, cwd=spec.directory, env=environment, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return [], f"no end after {timeout:.0f} s"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode == 0:
        return rows, None
    return rows, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"


def extra_paths() -> list[str]:
    existing = os.environ.get("PYTHONPATH")
    return [existing] if existing else []


def run(
    engines: Sequence[str],
    workloads: Sequence[str],
    *,
    count: int,
    value_bytes: int,
    rounds: int,
    directory: Path,
    cache_mib: int | None = None,
) -> Results:
    versions = installed(engines)
    settings = {"count": count, "value_bytes": value_bytes, "rounds": rounds, "cache_mib": cache_mib}
    results = Results(machine(), versions, settings)
    begun = time.monotonic()
    for turn in range(rounds):
        names = list(versions)
        names = names[turn % len(names) :] + names[: turn % len(names)]
        for stage in wanted_stages(workloads):
            for name in names:
                if not takes_part(name, stage):
                    continue
                spec = Spec(name, stage, count, value_bytes, 100 * turn + 7, str(directory), cache_mib)
                rows, failure = run_stage(spec)
                for row in rows:
                    if row["workload"] in workloads:
                        results.rows.append({"engine": name, "round": turn, **row})
                if failure:
                    results.failures.append({"engine": name, "round": turn, "stage": stage, "error": failure})
                shutil.rmtree(spec.own_path, ignore_errors=True)
                show_progress(begun, turn, stage, name, rows, failure)
        for name in names:
            shutil.rmtree(os.path.join(directory, f"{name}-random"), ignore_errors=True)
    return results


def show_progress(
    begun: float, turn: int, stage: str, name: str, rows: list[dict[str, Any]], failure: str | None
) -> None:
    rates = ", ".join(f"{row['workload']} {row['operations'] / row['seconds'] / 1e3:.1f} k/s" for row in rows)
    print(f"[{time.monotonic() - begun:4.0f} s] {turn + 1} {name}: {failure or rates or stage}", file=sys.stderr)
