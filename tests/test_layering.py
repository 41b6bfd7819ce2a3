"""What keeps the code readable, held by a test: layers, sizes, and nothing left for later."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
CORE = TOP / "csrc"
PUBLIC = {"nori.h", "nori_simulate.h"}
LAYERS = ["base", "io", "format", "iter", "wal", "memtable", "table", "version", "compact", "engine", "python"]
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
MAX_LINES = 700
# What only the operating system's environment may see, and who else may.
SYSTEM_HEADER = re.compile(
    r"^(?:unistd|fcntl|dirent|poll|termios|dlfcn|sched|pwd|grp|spawn|signal|sys/.*|linux/.*|netinet/.*|pthread|semaphore)\.h$"
)
# Events; mutexes and their yield; a thread's compression contexts, freed when it ends; the binding's handler in a forked child;
# large pages for what a scan exports.
SYSTEM_HEADER_EXCEPTIONS = {
    "linux/futex.h": {"base/event.c"},
    "sys/syscall.h": {"base/event.c"},
    "unistd.h": {"base/event.c"},
    "pthread.h": {"base/lock.h", "base/lock.c", "base/compression.c", "python/calls.c"},
    "sched.h": {"base/lock.c"},
    "sys/mman.h": {"base/alloc.c", "python/arrow_columns.c"},
}
LEFT_FOR_LATER = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b")


def core_files() -> list[Path]:
    return sorted(path for path in CORE.rglob("*") if path.suffix in (".c", ".h"))


def source_files() -> list[Path]:
    files = core_files()
    for folder in ("nori_lsm", "tests", "benchmarks", "tools"):
        files += [path for path in (TOP / folder).rglob("*") if path.suffix in (".c", ".h", ".py", ".pyi", ".sh")]
    return sorted(files)


def own_includes(path: Path) -> list[str]:
    return [own for own, _ in INCLUDE.findall(path.read_text("utf-8")) if own]


def system_includes(path: Path) -> list[str]:
    return [system for _, system in INCLUDE.findall(path.read_text("utf-8")) if system]


def layer_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0]


def test_the_core_is_where_these_tests_look() -> None:
    assert len(core_files()) > 50
    assert {layer_of(path) for path in core_files()} == {*LAYERS, "include"}


@pytest.mark.parametrize("layer", LAYERS)
def test_includes_go_down_the_layers_only(layer: str) -> None:
    allowed = {*LAYERS[: LAYERS.index(layer) + 1]}
    for path in core_files():
        if layer_of(path) != layer:
            continue
        for own in own_includes(path):
            target = CORE / own
            if own in PUBLIC:
                continue
            assert target.is_file(), f"{path}: {own} is not written from csrc/"
            assert layer_of(target) in allowed, f"{path} includes {own}, which is above it"


def test_the_binding_sees_the_public_headers_alone() -> None:
    for path in core_files():
        if layer_of(path) == "python":
            for own in own_includes(path):
                assert own in PUBLIC or own.startswith("python/"), f"{path} includes {own}"


def test_the_public_headers_include_nothing_else_of_ours() -> None:
    assert {path.name for path in (CORE / "include").iterdir()} == PUBLIC
    assert not own_includes(CORE / "include" / "nori.h")
    assert own_includes(CORE / "include" / "nori_simulate.h") == ["nori.h"]


def test_python_is_seen_by_the_binding_alone() -> None:
    for path in core_files():
        if layer_of(path) != "python":
            assert "Python.h" not in own_includes(path) + system_includes(path), f"{path} includes Python.h"


def test_the_operating_system_is_seen_by_io_alone() -> None:
    for path in core_files():
        if layer_of(path) == "io":
            continue
        for system in system_includes(path):
            if SYSTEM_HEADER.match(system):
                may = SYSTEM_HEADER_EXCEPTIONS.get(system, set())
                assert str(path.relative_to(CORE)) in may, f"{path} includes {system}"


def test_no_file_outgrows_a_subject() -> None:
    sizes = {path: path.read_text("utf-8").count("\n") for path in source_files()}
    assert not {str(path.relative_to(TOP)): lines for path, lines in sizes.items() if lines > MAX_LINES}


def test_nothing_is_left_for_later() -> None:
    for path in source_files():
        found = LEFT_FOR_LATER.search(path.read_text("utf-8"))
        assert not found, f"{path} says {found and found.group()}"
