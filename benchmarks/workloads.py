"""What is measured, in the order of running."""

from collections.abc import Callable, Iterator

from . import basic, churn, mixes
from .measure import Measured
from .stage import Spec

Stage = Callable[[Spec], Iterator[Measured]]
# read, overwrite and what follows use what fillrandom left.
STAGES: dict[str, tuple[Stage, tuple[str, ...]]] = {
    "fillseq": (basic.fillseq, ("fillseq",)),
    "fillbatch": (basic.fillbatch, ("fillbatch",)),
    "bulkload": (mixes.load, ("bulkload",)),
    "latency": (mixes.latency, ("latency",)),
    "fillrandom": (basic.fillrandom, ("fillrandom",)),
    "read": (basic.read, ("readrandom", "readmissing", "readseq", "readrev", "scan100", "scan100rev")),
    "groups": (mixes.groups, ("get_many100", "readthreads1", "readthreads2", "readthreads4", "columns")),
    "reopen": (mixes.reopen, ("open", "open_crashed")),
    "ranges": (mixes.ranges, ("ycsb_e",)),
    "overwrite": (basic.overwrite, ("overwrite",)),
    "ycsb": (mixes.ycsb, ("ycsb_a", "ycsb_b", "ycsb_c", "ycsb_f", "ycsb_d")),
    "updates": (mixes.updates, ("updatezipf", "deleterandom")),
    "readmem": (basic.readmem, ("readmem",)),
    "fillsync1": (basic.fillsync1, ("fillsync1",)),
    "fillsync16": (basic.fillsync16, ("fillsync16",)),
    "churn": (churn.churn, ("churn",)),
    "memory": (basic.memory, ("memory",)),
}
NEEDS = {stage: "fillrandom" for stage in ("read", "groups", "reopen", "ranges", "overwrite", "ycsb", "updates")}
WORKLOADS = [name for _stage, names in STAGES.values() for name in names]
# Without those that take long or say little of small databases.
QUICK = [name for name in WORKLOADS if name not in ("memory", "churn", "fillsync16", "readthreads1", "open_crashed")]
