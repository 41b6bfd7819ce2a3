"""Plants the defects of defects.txt, one at a time, in a copy of the tree, and says which tests catch each.

make mutants [ARGS="name part of a name ... --keep-going"]

First run the tests that a defect names; if they all pass, all C tests and then all Python tests. The copy stays in
build/mutants, so that a second run compiles little.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "build" / "mutants"
TREE = SCRATCH / "tree"
PRISTINE = SCRATCH / "pristine"
COPIED = ["csrc", "nori_lsm", "tests", "docs", "setup.py", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"]
# A defect may make a test wait for ever: that is caught, too.
SECONDS = 120
ALL_SECONDS = 1200


@dataclass
class Change:
    path: str
    before: str
    after: str


@dataclass
class Defect:
    name: str
    what: str
    tests: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def read_defects(text: str) -> list[Defect]:
    defects: list[Defect] = []
    path, part, parts = "", None, {"before": "", "after": ""}
    for line in text.splitlines(keepends=True):
        word, _, rest = line.rstrip("\n").partition(" ")
        if part and line == "====\n":
            part = "after"
        elif part and line == ">>>>\n":
            defects[-1].changes.append(Change(path, parts["before"], parts["after"]))
            part = None
        elif part:
            parts[part] += line
        elif line == "<<<<\n":
            part, parts = "before", {"before": "", "after": ""}
        elif word == "==":
            name, _, what = rest.partition(": ")
            defects.append(Defect(name, what))
        elif word == "file":
            path = rest
        elif word == "test":
            defects[-1].tests.append(rest)
        elif line.strip() and not line.startswith("#"):
            raise SystemExit(f"not understood: {line}")
    return defects


def files_of(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".so", ".pyc", ".o"):
            yield path


def copy_tree() -> None:
    """Files that are the same keep their times, so that make leaves what depends on them."""
    wanted: set[Path] = set()
    for name in COPIED:
        for path in files_of(ROOT / name):
            target = TREE / path.relative_to(ROOT)
            wanted.add(target)
            if not target.exists() or target.read_bytes() != path.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    for name in COPIED:
        if (TREE / name).exists():
            for path in list(files_of(TREE / name)):
                if path not in wanted:
                    path.unlink()


def run(command: list[str], seconds: float, **environment: str) -> tuple[int | None, str]:
    """Exit status, None after `seconds`; and the output."""
    process = subprocess.Popen(
        command,
        cwd=TREE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        start_new_session=True,
        text=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return None, ""


def make(goal: str, seconds: float, only: str = "") -> tuple[int | None, str]:
    command = ["make", "--silent", "--no-print-directory", "-k", "-C", "tests/c", f"-j{os.cpu_count() or 2}", goal]
    return run([*command, "MODE=plain", f"BUILD={SCRATCH / 'c'}", f"ONLY={only}"], seconds)


def run_program(name: str) -> tuple[int | None, str]:
    program = SCRATCH / "c" / "tests" / "c" / name
    status, output = make(str(program), ALL_SECONDS)
    if status != 0:
        raise SystemExit(f"{name} does not build:\n{output[-2000:]}")
    return run([str(program)], SECONDS, NR_TEST_DATA=str(TREE / "tests" / "c" / "data"))


def build_extension() -> None:
    status, output = run([sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--build-temp", str(SCRATCH / "py")], ALL_SECONDS)
    if status != 0:
        raise SystemExit(f"the extension does not build:\n{output[-2000:]}")


def run_pytest(arguments: list[str], seconds: float) -> tuple[int | None, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    return run(command, seconds, PYTHONPATH=str(TREE), PYTHONDONTWRITEBYTECODE="1")


def name_failure(status: int | None, output: str) -> str:
    """The first test that failed."""
    for line in output.splitlines():
        if line.startswith("FAILED "):
            return line.removeprefix("FAILED ").split(" - ")[0]
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    return "never ends" if status is None else f"exit {status}: {last[:60]}"


class Survived(Exception):
    pass


def judge_named(defect: Defect) -> str | None:
    for test in defect.tests:
        if test.startswith("tests/"):
            build_extension()
            status, output = run_pytest(test.split(), SECONDS)
        else:
            status, output = run_program(test)
        if status != 0:
            return f"{test}: {name_failure(status, output)}"
    return None


def judge_all() -> str | None:
    status, output = make("run", ALL_SECONDS)
    if status != 0:
        return f"all C tests: {name_failure(status, output)}"
    build_extension()
    status, output = run_pytest(["tests"], ALL_SECONDS)
    return None if status == 0 else f"all Python tests: {name_failure(status, output)}"


def uproot(defect: Defect) -> None:
    for path in {change.path for change in defect.changes}:
        shutil.copyfile(PRISTINE / path, TREE / path)


def plant(defect: Defect) -> str | None:
    """What keeps the defect from being planted."""
    texts: dict[str, str] = {}
    for change in defect.changes:
        text = texts.get(change.path) or (TREE / change.path).read_text()
        if text.count(change.before) != 1:
            return f"{change.path} has the text {text.count(change.before)} times"
        texts[change.path] = text.replace(change.before, change.after)
    for path, text in texts.items():
        (TREE / path).write_text(text)
    return None


def judge(defect: Defect, is_whole: bool) -> tuple[str, str]:
    """The verdict, and what caught it."""
    why = plant(defect)
    if why:
        return "DOES NOT APPLY", why
    status, output = make("library", ALL_SECONDS)
    if status != 0:
        return "DOES NOT BUILD", next((line for line in output.splitlines() if "error" in line), output[-200:])
    caught_by = judge_named(defect)
    if caught_by:
        return "caught", caught_by
    caught_by = judge_all() if is_whole else None
    return ("caught elsewhere", caught_by) if caught_by else ("SURVIVED", "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of the defects, or parts of them; none: all")
    parser.add_argument("--named-only", action="store_true", help="only the tests that a defect names")
    parser.add_argument("--check", action="store_true", help="only whether all can still be planted")
    arguments = parser.parse_args()
    defects = read_defects((ROOT / "tests" / "mutants" / "defects.txt").read_text())
    chosen = [defect for defect in defects if not arguments.names or any(name in defect.name for name in arguments.names)]
    copy_tree()
    shutil.rmtree(PRISTINE, ignore_errors=True)
    for folder in ("csrc", "nori_lsm"):
        shutil.copytree(TREE / folder, PRISTINE / folder)
    if not arguments.check:
        status, output = make("run", ALL_SECONDS)
        if status != 0:
            print(f"without a defect: {name_failure(status, output)}")
            return 1
    wrong = 0
    for defect in chosen:
        begun = time.monotonic()
        if arguments.check:
            why = plant(defect)
            verdict, detail = ("DOES NOT APPLY", why) if why else ("applies", "")
        else:
            verdict, detail = judge(defect, not arguments.named_only)
        uproot(defect)
        wrong += verdict.isupper()
        print(f"{defect.name:32} {verdict:16} {time.monotonic() - begun:5.0f} s  {detail}", flush=True)
    print(f"{len(chosen)} defects, {wrong} not caught or not planted")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
