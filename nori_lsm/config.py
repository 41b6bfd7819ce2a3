"""What can be tuned: `Config` and its parts.

The core keeps the table of options: their names, ranges and defaults. A part hands its fields over as texts when it
is built, so a bad value is refused with the words, and by the rules, that the core has for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from nori_lsm import _core
from nori_lsm._option_text import text_of, value_of

__all__ = [
    "Config",
    "Durability",
    "FilterConfig",
    "IoConfig",
    "L0Config",
    "LevelConfig",
    "MemtableConfig",
    "PressureConfig",
    "ResourceConfig",
    "TombstoneConfig",
    "WalConfig",
]

Durability = Literal["sync", "interval", "os"]
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class _Part:
    """A group of options, checked by the core when it is built."""

    _prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        checked = dict(_core.check_options(self._pairs()))
        for spec in fields(self):
            object.__setattr__(self, spec.name, value_of(spec, checked[self._prefix + spec.name]))

    def _pairs(self) -> Pairs:
        return [
            (self._prefix + spec.name, text_of(self._prefix + spec.name, spec, getattr(self, spec.name)))
            for spec in fields(self)
        ]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class WalConfig(_Part):
    """The write-ahead log.

    durability  "sync": every write is on disk before it returns; "interval": on disk within sync_interval_ms and one
                sync; "os": never synced by us. kill -9 loses nothing with any of them
    mapped      write through a shared mapping where that cannot fail
    """

    _prefix: ClassVar[str] = "wal."
    durability: Durability = "interval"
    sync_interval_ms: int = 100
    segment_bytes: int = 64 << 20
    mapped: Literal["auto"] | bool = field(default="auto", metadata={"bool": True})
    gc_interval_secs: float = 60.0
    retain_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class MemtableConfig(_Part):
    """When the memtable is flushed: at this size, at most a quarter of resources.memtables_mib, or once its oldest write
    is this old (0: never)."""

    _prefix: ClassVar[str] = "memtable."
    flush_trigger_bytes: int = 64 << 20
    wal_age_trigger_sec: float = 30.0


@dataclass(frozen=True, kw_only=True)
class L0Config(_Part):
    """Level 0. Writers stall at max_files, the deepest stack over any key; from soft_throttle_threshold on writes owe
    soft_throttle_base_delay_ms x (files - threshold) per MiB written."""

    _prefix: ClassVar[str] = "l0."
    max_files: int = 12
    soft_throttle_threshold: int = 6
    soft_throttle_base_delay_ms: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PressureConfig(_Part):
    """How writes are slowed down. weights: of L0, memory and memtable in the score. zones: where yellow, orange and
    red begin, for the score and for each of the three alone. A MiB written owes up to 50 ms in yellow, 800 ms in orange;
    in red writes wait for flushes and merges. One stalled for stall_timeout_secs raises BackpressureError."""

    _prefix: ClassVar[str] = "pressure."
    weights: tuple[float, float, float] = (0.4, 0.4, 0.2)
    zones: tuple[float, float, float] = (0.50, 0.75, 0.90)
    stall_timeout_secs: float = 60.0


@dataclass(frozen=True, kw_only=True)
class FilterConfig(_Part):
    """Filters of tables. 0 bits: none.

    Where the filters of all tables would take more than ResourceConfig.filters_mib, levels get bits by what they turn
    away: small ones up to two more than this, the largest fewer.

    kind  "ribbon": from level 2 on, filters that turn away as much in three quarters of the memory, for a fifth more
          time to write a table and some 20 ns a question
    """

    _prefix: ClassVar[str] = "filters."
    bloom_bits_per_key: float = 10.0
    kind: Literal["bloom", "ribbon"] = "bloom"


@dataclass(frozen=True, kw_only=True)
class LevelConfig(_Part):
    """Tables of one level. bloom_bits_per_key None: FilterConfig's; given, it holds whatever the budget of filters."""

    compression: Literal["none", "lz4", "zstd"] = "lz4"
    block_bytes: int = 4096
    bloom_bits_per_key: float | None = None

    def __post_init__(self) -> None:
        checked = dict(_core.check_options([("levels", self._text())]))["levels"]
        for spec, text in zip(fields(self), checked.split("/"), strict=True):
            object.__setattr__(self, spec.name, value_of(spec, text))

    def _text(self) -> str:
        return "/".join(text_of("levels." + spec.name, spec, getattr(self, spec.name)) for spec in fields(self))


@dataclass(frozen=True, kw_only=True)
class ResourceConfig(_Part):
    """Budgets. Memory stays within their sum and a tenth. Not kept with the database."""

    _prefix: ClassVar[str] = "resources."
    block_cache_mib: int = 1024
    index_cache_mib: int = 128
    memtables_mib: int = 512
    filters_mib: int = 256
    max_open_files: int = 4096


@dataclass(frozen=True, kw_only=True)
class IoConfig(_Part):
    """Background work: at most max_background_jobs, and never more than the machine has cores. rate_limit_mib_s is of
    compaction writes. Not kept with the database."""

    _prefix: ClassVar[str] = "io."
    max_background_jobs: int = 4
    rate_limit_mib_s: float | None = None
    compaction_slice_mib: int = 64


@dataclass(frozen=True, kw_only=True)
class TombstoneConfig(_Part):
    """Deletes and expiry. A slot with more tombstones than density_threshold is compacted for that reason alone;
    ttl_default_secs serves puts that name no ttl."""

    _prefix: ClassVar[str] = "tombstones."
    density_threshold: float = 0.15
    ttl_default_secs: float | None = None


def _checked_part(name: str, value: object, wanted: type[_Part]) -> _Part:
    if not isinstance(value, wanted):
        raise ValueError(f"{name} is {value!r}, must be a {wanted.__name__}")
    return value


def _levels_text(levels: object) -> str:
    if isinstance(levels, Iterable):
        levels = tuple(levels)
        if levels and all(isinstance(level, LevelConfig) for level in levels):
            return ",".join(level._text() for level in levels)
    raise ValueError(f"levels is {levels!r}, must be one LevelConfig or more")


@dataclass(frozen=True, kw_only=True)
class Config(_Part):
    """Everything that can be tuned. Checked when built: a bad value raises ValueError naming the field.

    fanout            size ratio between a level and the next
    l1_slot_count     slots aimed at on level 1 (`num_slots` in overrides and from_dict means the same)
    level1_bytes      level 1 aims at this at least; targets derive from the bottom's size
    table_bytes       where output tables are cut
    k_global          most runs that a cold slot may hold
    max_space_amp     bytes on disk / live bytes that compaction keeps to
    heat_alpha        weight of the newest interval
    levels            one per level from 0; the last one serves all deeper levels. LZ4, and zstd from level 3 on
    """

    fanout: int = 10
    max_levels: int = 7
    l1_slot_count: int = 32
    level1_bytes: int = 256 << 20
    table_bytes: int = 32 << 20
    k_global: int = 4
    k_policy: Literal["cost", "heat"] = "cost"
    strategy: Literal["atll", "leveled", "tiered"] = "atll"
    guards: Literal["learned", "uniform"] = "learned"
    max_space_amp: float = 1.3
    heat_alpha: float = 0.1
    heat_decay_interval_secs: float = 60.0
    scheduler: Literal["bandit", "contextual", "greedy", "round_robin"] = "bandit"
    compaction_epsilon: float = 0.1
    compaction_ucb_c: float = 2.0
    compaction_reward_alpha: float = 0.1
    wal: WalConfig = WalConfig()
    memtable: MemtableConfig = MemtableConfig()
    l0: L0Config = L0Config()
    pressure: PressureConfig = PressureConfig()
    filters: FilterConfig = FilterConfig()
    levels: tuple[LevelConfig, ...] = (LevelConfig(), LevelConfig(), LevelConfig(), LevelConfig(compression="zstd"))
    resources: ResourceConfig = ResourceConfig()
    io: IoConfig = IoConfig()
    tombstones: TombstoneConfig = TombstoneConfig()

    def __post_init__(self) -> None:
        if isinstance(self.levels, Iterable):
            object.__setattr__(self, "levels", tuple(self.levels))
        checked = dict(_core.check_options(self._pairs()))
        for spec in fields(self):
            if spec.name != "levels" and not isinstance(spec.default, _Part):
                object.__setattr__(self, spec.name, value_of(spec, checked[spec.name]))

    def _pairs(self) -> Pairs:
        pairs: Pairs = []
        for spec in fields(self):
            value = getattr(self, spec.name)
            if isinstance(spec.default, _Part):
                pairs += _checked_part(spec.name, value, type(spec.default))._pairs()
            elif spec.name == "levels":
                pairs.append((spec.name, _levels_text(value)))
            else:
                pairs.append((spec.name, text_of(spec.name, spec, value)))
        return pairs

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Config:
        """The inverse of to_dict; what is not named has its default. Parts are mappings too, or ready made."""
        given = _with_slot_count(d)
        for name, part in _PARTS.items():
            if isinstance(given.get(name), Mapping):
                given[name] = part(**given[name])
        if isinstance(given.get("levels"), Iterable):
            given["levels"] = tuple(
                LevelConfig(**level) if isinstance(level, Mapping) else level for level in given["levels"]
            )
        return cls(**given)


_PARTS: dict[str, type[_Part]] = {
    spec.name: type(spec.default) for spec in fields(Config) if isinstance(spec.default, _Part)
}


def _with_slot_count(given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(given)
    if "num_slots" in result:
        if "l1_slot_count" in result:
            raise ValueError("num_slots and l1_slot_count are the same option; give one")
        result["l1_slot_count"] = result.pop("num_slots")
    return result


# ---------------------------------------------------------------- texts, as the core takes them


def config_pairs(config: Config) -> Pairs:
    """All options of the configuration as (name, text), in the core's words and order."""
    return _core.check_options(config._pairs())


def config_from_pairs(pairs: Iterable[tuple[str, str]]) -> Config:
    """The configuration whose options have these texts."""
    texts = dict(pairs)
    values: dict[str, Any] = {}
    for spec in fields(Config):
        if spec.name == "levels":
            values["levels"] = tuple(_level_of(text) for text in texts["levels"].split(","))
        elif spec.name in _PARTS:
            part = _PARTS[spec.name]
            values[spec.name] = part(
                **{inner.name: value_of(inner, texts[part._prefix + inner.name]) for inner in fields(part)}
            )
        else:
            values[spec.name] = value_of(spec, texts[spec.name])
    return Config(**values)


def override_pairs(overrides: Mapping[str, Any]) -> Pairs:
    """Options given by keyword: a field's name, part__field, or a whole part. A single field wins over its part."""
    given = _with_slot_count(overrides)
    wholes: Pairs = []
    singles: Pairs = []
    for name, value in given.items():
        if name == "levels":
            singles.append(("levels", _levels_text(value)))
        elif name in _PARTS:
            wholes += _checked_part(name, value, _PARTS[name])._pairs()
        else:
            spec, option = _find_option(name)
            singles.append((option, text_of(option, spec, value)))
    return wholes + singles


def _find_option(keyword: str) -> tuple[Field[Any], str]:
    part_name, _, name = keyword.rpartition("__")
    owner = _PARTS.get(part_name) if part_name else Config
    for spec in fields(owner) if owner else ():
        if owner and spec.name == name:
            return spec, owner._prefix + name
    raise TypeError(f"there is no option {keyword!r}")


def _level_of(text: str) -> LevelConfig:
    parts = zip(fields(LevelConfig), text.split("/"), strict=True)
    return LevelConfig(**{spec.name: value_of(spec, part) for spec, part in parts})
