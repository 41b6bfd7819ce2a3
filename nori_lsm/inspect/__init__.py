"""An independent reader of every file format, in Python, made from csrc/FORMAT.md alone.

>>> from nori_lsm import inspect
>>> database = inspect.read_database("path")        # without the engine, and without its lock
>>> for key, value in database.items(): ...
>>> inspect.read_table(data, "000007.sst").properties

It verifies every checksum. What is damaged raises nori_lsm.CorruptionError, what a later version made FormatError. It
needs the packages of the extra `inspect`: xxhash, and lz4 and zstandard where tables are compressed so.
"""

from __future__ import annotations

from nori_lsm.inspect._batch import Entry, RangeDelete, read_batch
from nori_lsm.inspect._database import Database, read_database
from nori_lsm.inspect._edits import Edit
from nori_lsm.inspect._filters import BloomFilter, Filter, RibbonFilter
from nori_lsm.inspect._header import FileHeader, read_header
from nori_lsm.inspect._heat import Arm, Heat, HeatSection, Learned, Model, Sketch, SketchItem, SlotHeat, read_heat
from nori_lsm.inspect._log import Commit, Link, Log, Segment, read_log, read_segment
from nori_lsm.inspect._manifest import Manifest, read_manifest
from nori_lsm.inspect._names import Current, DirectoryFiles, Files, SimDiskFiles, read_current
from nori_lsm.inspect._properties import Properties
from nori_lsm.inspect._records import Framed, Mark, Promise, Record, read_framed
from nori_lsm.inspect._shares import Run, Slice
from nori_lsm.inspect._table import Block, Section, Table, read_table
from nori_lsm.inspect._tree import Slot, Tree

__all__ = [
    "Arm",
    "Block",
    "BloomFilter",
    "Commit",
    "Current",
    "Database",
    "DirectoryFiles",
    "Edit",
    "Entry",
    "FileHeader",
    "Files",
    "Filter",
    "Framed",
    "Heat",
    "HeatSection",
    "Learned",
    "Link",
    "Log",
    "Manifest",
    "Mark",
    "Model",
    "Promise",
    "Properties",
    "RangeDelete",
    "Record",
    "RibbonFilter",
    "Run",
    "Section",
    "Segment",
    "SimDiskFiles",
    "Sketch",
    "SketchItem",
    "Slice",
    "Slot",
    "SlotHeat",
    "Table",
    "Tree",
    "read_batch",
    "read_current",
    "read_database",
    "read_framed",
    "read_header",
    "read_heat",
    "read_log",
    "read_manifest",
    "read_segment",
    "read_table",
]
