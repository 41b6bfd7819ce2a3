"""The command line: nori-lsm, or python -m nori_lsm."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

import nori_lsm
from nori_lsm._terminal import format_key

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be written, at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (nori_lsm.Error, ImportError, OSError, ValueError) as error:
        print(f"nori-lsm: {error}", file=sys.stderr)
        return int(options.failure)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nori-lsm", description="Look into, read and write nori_lsm databases.")
    parser.add_argument("--version", action="version", version=nori_lsm.__version__)
    parser.set_defaults(failure=1)
    commands = parser.add_subparsers(required=True, metavar="command")

    tour = commands.add_parser("tour", help="the main job on real input, every claim counted")
    tour.add_argument("--path", metavar="DIR", help="directory to use; default: a new temporary one")
    tour.add_argument("--keep", action="store_true", help="stop rather than replace what an earlier tour left in DIR")
    tour.set_defaults(run=run_tour)

    stats = commands.add_parser("stats", help="what a database looks like: amplification, levels, slots, counters")
    stats.add_argument("path")
    stats.add_argument("--json", action="store_true", help="as JSON, slots included")
    stats.add_argument("--watch", action="store_true", help="again and again, beside its writer; ^C ends it")
    stats.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between looks (default 1)")
    stats.add_argument("--times", type=int, metavar="N", help="with --watch: look so many times, then end")
    stats.set_defaults(run=run_stats)

    get = commands.add_parser("get", help="print the value of a key; exit 1 if it is not there")
    get.add_argument("path")
    get.add_argument("key")
    get.set_defaults(run=run_get)

    put = commands.add_parser("put", help="write a value")
    put.add_argument("path")
    put.add_argument("key")
    put.add_argument("value", help="- reads it from standard input")
    put.add_argument("--ttl", type=float, metavar="SECONDS", help="let it expire")
    put.set_defaults(run=run_put)

    scan = commands.add_parser("scan", help="print keys and values in order, one a line, a tab between")
    scan.add_argument("path")
    scan.add_argument("--start", metavar="KEY", help="lower bound")
    scan.add_argument("--stop", metavar="KEY", help="upper bound, not included")
    scan.add_argument("--prefix", metavar="KEY")
    scan.add_argument("--reverse", action="store_true")
    scan.add_argument("--limit", type=int, metavar="N")
    scan.add_argument("--keys", action="store_true", help="keys only")
    scan.set_defaults(run=run_scan)

    verify = commands.add_parser("verify", help="read all of a database; exit 1 if it is damaged, 2 if it does not open")
    verify.add_argument("path")
    verify.add_argument("--json", action="store_true", help="the report as JSON")
    verify.set_defaults(run=run_verify, failure=2)

    repair = commands.add_parser("repair", help="save what is whole of a damaged database; exit 1 if not all is, 2 if nothing")
    repair.add_argument("path", help="the database; it is only read")
    repair.add_argument("into", help="where the new one is made")
    repair.add_argument("--keep-doubtful", action="store_true", help="keep what may be older than what is lost")
    repair.add_argument("--json", action="store_true", help="the report as JSON")
    repair.set_defaults(run=run_repair, failure=2)

    backup = commands.add_parser("backup", help="copy what is new of a database to a directory or URL that fsspec knows")
    backup.add_argument("path")
    backup.add_argument("url", help="where this database's backups are")
    backup.add_argument("--keep", type=int, metavar="N", help="then remove all but the newest N")
    backup.set_defaults(run=run_backup)

    restore = commands.add_parser("restore", help="make a database of a backup, every byte checked")
    restore.add_argument("url")
    restore.add_argument("path", help="where the database is made")
    restore.add_argument("--number", type=int, metavar="N", help="of the backup; default: the newest")
    restore.set_defaults(run=run_restore)

    dump = commands.add_parser("dump", help="what a single file of a database holds, read without the engine")
    dump.add_argument("file", help="CURRENT, HEAT, a manifest, a table, or a segment of the log")
    dump.add_argument("--json", action="store_true", help="one JSON object a line")
    dump.add_argument("--limit", type=int, metavar="N", help="so many lines at most")
    dump.set_defaults(run=run_dump)
    return parser


def run_tour(options: argparse.Namespace) -> int:
    from nori_lsm import tour

    return tour.run(options.path, keep=options.keep)


def run_stats(options: argparse.Namespace) -> int:
    from nori_lsm import _show

    if options.watch:
        return _show.watch(options.path, options.interval, options.times)
    with nori_lsm.open(options.path, read_only=True) as db:
        stats, slots = db.stats(), db.slots()
    if options.json:
        print(json.dumps({**stats.to_dict(), **slots.to_dict()}, indent=2, default=format_key))
    else:
        print(_show.everything(stats, slots))
    return 0


def run_get(options: argparse.Namespace) -> int:
    with nori_lsm.open(options.path, read_only=True) as db:
        value = db.get(os.fsencode(options.key))
    if value is None:
        return 1
    sys.stdout.buffer.write(value + (b"\n" if sys.stdout.isatty() else b""))
    sys.stdout.buffer.flush()
    return 0


def run_put(options: argparse.Namespace) -> int:
    value = sys.stdin.buffer.read() if options.value == "-" else os.fsencode(options.value)
    with nori_lsm.open(options.path) as db:
        db.put(os.fsencode(options.key), value, sync=True, ttl=options.ttl)
    return 0


def run_scan(options: argparse.Namespace) -> int:
    start, stop, prefix = (
        None if text is None else os.fsencode(text) for text in (options.start, options.stop, options.prefix)
    )
    with (
        nori_lsm.open(options.path, read_only=True) as db,
        db.scan(start, stop, prefix=prefix, reverse=options.reverse, limit=options.limit) as entries,
    ):
        for key, value in entries:
            print(format_key(key) if options.keys else f"{format_key(key)}\t{format_key(value)}")
    sys.stdout.flush()
    return 0


def run_verify(options: argparse.Namespace) -> int:
    from nori_lsm import _show

    with nori_lsm.open(options.path, read_only=True) as db, _show.progress() as progress:
        report = db.verify(progress=progress)
    print(json.dumps(report.to_dict(), indent=2) if options.json else _show.verified(report))
    return 0 if report.ok else 1


def run_repair(options: argparse.Namespace) -> int:
    from nori_lsm import _show

    with _show.progress() as progress:
        report = nori_lsm.repair(
            options.path, options.into, doubtful="keep" if options.keep_doubtful else "drop", progress=progress
        )
    print(json.dumps(report.to_dict(), indent=2, default=format_key) if options.json else _show.repaired(report))
    return 0 if report.ok else 1


def run_backup(options: argparse.Namespace) -> int:
    from nori_lsm import _show
    from nori_lsm.backup import backup, prune

    if options.keep is not None and options.keep < 1:
        raise ValueError(f"--keep is {options.keep}, must be at least 1")
    with nori_lsm.open(options.path, create=False) as db, _show.progress() as progress:
        made = backup(db, options.url, progress=progress)
    print(_show.backed_up(made))
    if options.keep is not None:
        prune(options.url, keep=options.keep)
    return 0


def run_restore(options: argparse.Namespace) -> int:
    from nori_lsm import _show
    from nori_lsm.backup import restore

    with _show.progress() as progress:
        made = restore(options.url, options.path, number=options.number, progress=progress)
    print(_show.backed_up(made))
    return 0


def run_dump(options: argparse.Namespace) -> int:
    from nori_lsm.inspect.dump import dump_file

    if options.limit is not None and options.limit < 0:
        raise ValueError(f"--limit is {options.limit}, must not be negative")
    for line in dump_file(options.file, as_json=options.json, limit=options.limit):
        print(line)
    sys.stdout.flush()
    return 0
