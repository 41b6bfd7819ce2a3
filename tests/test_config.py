"""Config: what it refuses, that it survives every form it is written in, and that the core agrees with it."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nori_lsm
from nori_lsm import (
    Config,
    FilterConfig,
    IoConfig,
    L0Config,
    LevelConfig,
    MemtableConfig,
    PressureConfig,
    ResourceConfig,
    TombstoneConfig,
    WalConfig,
    _core,
)
from nori_lsm.config import config_from_pairs, config_pairs, override_pairs

PARTS = [
    WalConfig,
    MemtableConfig,
    L0Config,
    PressureConfig,
    FilterConfig,
    LevelConfig,
    ResourceConfig,
    IoConfig,
    TombstoneConfig,
]
UNUSUAL = Config(
    fanout=4,
    k_global=1,
    strategy="leveled",
    heat_alpha=0.1 + 0.2,
    wal=WalConfig(durability="sync", mapped=False),
    l0=L0Config(max_files=4, soft_throttle_threshold=2),
    pressure=PressureConfig(zones=(0.1, 0.2, 1.0)),
    levels=(LevelConfig(), LevelConfig(compression="zstd", block_bytes=16384, bloom_bits_per_key=8.0)),
    io=IoConfig(rate_limit_mib_s=12.5),
    tombstones=TombstoneConfig(ttl_default_secs=3600.0),
)


def test_defaults_are_those_of_the_core() -> None:
    assert config_pairs(Config()) == _core.default_options()
    assert config_from_pairs(_core.default_options()) == Config()


def test_defaults_are_those_that_are_documented() -> None:
    config = Config()
    assert (config.fanout, config.max_levels, config.l1_slot_count) == (10, 7, 32)
    assert (config.level1_bytes, config.table_bytes) == (256 << 20, 32 << 20)
    assert (config.k_global, config.k_policy, config.strategy, config.guards) == (4, "cost", "atll", "learned")
    assert (config.max_space_amp, config.heat_alpha, config.heat_decay_interval_secs) == (1.3, 0.1, 60.0)
    assert (config.scheduler, config.compaction_epsilon) == ("bandit", 0.1)
    assert config.wal == WalConfig(
        durability="interval",
        sync_interval_ms=100,
        segment_bytes=64 << 20,
        mapped="auto",
        gc_interval_secs=60.0,
        retain_bytes=0,
    )
    assert config.memtable == MemtableConfig(flush_trigger_bytes=64 << 20, wal_age_trigger_sec=30.0)
    assert config.l0 == L0Config(max_files=12, soft_throttle_threshold=6, soft_throttle_base_delay_ms=1.0)
    assert config.pressure.weights == (0.4, 0.4, 0.2)
    assert config.pressure.zones == (0.50, 0.75, 0.90)
    lz4 = LevelConfig(compression="lz4", block_bytes=4096, bloom_bits_per_key=None)
    assert config.levels == (lz4, lz4, lz4, LevelConfig(compression="zstd", block_bytes=4096, bloom_bits_per_key=None))
    assert config.io.rate_limit_mib_s is None
    assert config.tombstones.ttl_default_secs is None


@pytest.mark.parametrize("config", [Config(), UNUSUAL], ids=["default", "unusual"])
def test_every_form_reads_back_as_the_same_config(config: Config) -> None:
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config_from_pairs(config_pairs(config)) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert eval(repr(config), vars(nori_lsm).copy()) == config
    assert hash(config) == hash(dataclasses.replace(config))


def test_config_is_frozen_and_by_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().fanout = 5  # type: ignore[misc]
    for part in [Config, *PARTS]:
        with pytest.raises(TypeError):
            part(1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Config(fanout=1), "fanout"),
        (lambda: Config(l1_slot_count=0), "l1_slot_count"),
        (lambda: Config(k_global=0), "k_global"),
        (lambda: Config(max_levels=100), "max_levels"),
        (lambda: Config(max_space_amp=1.0), "max_space_amp"),
        (lambda: Config(heat_alpha=0.0), "heat_alpha"),
        (lambda: Config(heat_alpha=math.nan), "heat_alpha"),
        (lambda: Config(compaction_ucb_c=math.inf), "compaction_ucb_c"),
        (lambda: Config(compaction_epsilon=-0.1), "compaction_epsilon"),
        (lambda: Config(k_policy="warm"), "k_policy"),
        (lambda: Config(strategy=""), "strategy"),
        (lambda: Config(guards="a,b"), "guards"),
        (lambda: Config(scheduler=None), "scheduler"),
        (lambda: Config(levels=()), "levels"),
        (lambda: Config(levels=(LevelConfig(),) * 17), "levels"),
        (lambda: Config(levels="lz4"), "levels"),
        (lambda: Config(wal=None), "wal"),
        (lambda: Config(wal=L0Config()), "wal"),
        (lambda: Config(l0={"max_files": 8}), "l0"),
        (lambda: WalConfig(segment_bytes=65535), "segment_bytes"),
        (lambda: WalConfig(durability="always"), "durability"),
        (lambda: WalConfig(mapped="true"), "mapped"),
        (lambda: WalConfig(mapped=1), "mapped"),
        (lambda: WalConfig(retain_bytes=-1), "retain_bytes"),
        (lambda: MemtableConfig(flush_trigger_bytes=16383), "flush_trigger_bytes"),
        (lambda: MemtableConfig(wal_age_trigger_sec=-1), "wal_age_trigger_sec"),
        (lambda: L0Config(max_files=6), "max_files"),
        (lambda: L0Config(soft_throttle_threshold=12), "soft_throttle_threshold"),
        (lambda: PressureConfig(zones=(0.9, 0.75, 0.5)), "zones"),
        (lambda: PressureConfig(zones=(0.5, 0.9)), "zones"),
        (lambda: PressureConfig(zones=0.5), "zones"),
        (lambda: PressureConfig(weights=(0.5, 0.5, -0.1)), "weights"),
        (lambda: PressureConfig(weights=(0.0, 0.0, 0.0)), "weights"),
        (lambda: FilterConfig(kind="xor"), "kind"),
        (lambda: FilterConfig(bloom_bits_per_key=-1), "bloom_bits_per_key"),
        (lambda: LevelConfig(compression="lz4/4096/none,lz4"), "compression"),
        (lambda: LevelConfig(compression=None), "compression"),
        (lambda: LevelConfig(block_bytes=1), "block_bytes"),
        (lambda: LevelConfig(bloom_bits_per_key=-1), "bloom_bits_per_key"),
        (lambda: ResourceConfig(block_cache_mib=0), "block_cache_mib"),
        (lambda: ResourceConfig(max_open_files=0), "max_open_files"),
        (lambda: IoConfig(max_background_jobs=0), "max_background_jobs"),
        (lambda: IoConfig(rate_limit_mib_s=0), "rate_limit_mib_s"),
        (lambda: TombstoneConfig(density_threshold=1.1), "density_threshold"),
        (lambda: TombstoneConfig(ttl_default_secs=math.inf), "ttl_default_secs"),
    ],
)
def test_a_bad_value_raises_value_error_naming_the_field(build: Any, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        build()


@pytest.mark.parametrize("value", ["10", b"10", 10.0, True, None, [10], 2**63, 10**30])
def test_a_whole_number_is_nothing_else(value: Any) -> None:
    with pytest.raises(ValueError, match="fanout"):
        Config(fanout=value)


@pytest.mark.parametrize("value", ["0.5", b"0.5", True, None, 1j, 10**400])
def test_a_number_is_nothing_else(value: Any) -> None:
    with pytest.raises(ValueError, match="heat_alpha"):
        Config(heat_alpha=value)


def test_values_take_the_type_of_their_field() -> None:
    level, pressure = LevelConfig(bloom_bits_per_key=8), PressureConfig(zones=[0.1, 0.2, 1])  # type: ignore[arg-type]
    config = Config(heat_alpha=1, levels=[level], pressure=pressure)  # type: ignore[arg-type]
    assert type(config.heat_alpha) is float
    assert config.levels == (LevelConfig(bloom_bits_per_key=8.0),)
    assert type(config.levels[0].bloom_bits_per_key) is float
    assert config.pressure.zones == (0.1, 0.2, 1.0)
    assert Config(levels=(LevelConfig() for _ in range(2))).levels == (LevelConfig(),) * 2  # type: ignore[arg-type]


@given(st.floats(min_value=1e-300, max_value=1.0, allow_subnormal=False))
def test_numbers_keep_every_bit(alpha: float) -> None:
    config = Config(heat_alpha=alpha)
    assert config.heat_alpha == alpha
    assert config_from_pairs(config_pairs(config)).heat_alpha == alpha


def test_unknown_names_are_refused_as_the_constructor_does() -> None:
    for build in (
        lambda: Config(fanouts=1),  # type: ignore[call-arg]
        lambda: Config.from_dict({"fanouts": 1}),
        lambda: Config.from_dict({"wal": {"segments": 1}}),
        lambda: Config.from_dict({"levels": [{"blocks": 1}]}),
    ):
        with pytest.raises(TypeError):
            build()


def test_num_slots_means_l1_slot_count() -> None:
    assert Config.from_dict({"num_slots": 5}) == Config(l1_slot_count=5)
    assert override_pairs({"num_slots": 5}) == [("l1_slot_count", "5")]
    for build in (Config.from_dict, override_pairs):
        with pytest.raises(ValueError, match="num_slots"):
            build({"num_slots": 5, "l1_slot_count": 5})


def test_overrides_name_fields_parts_and_fields_of_parts() -> None:
    pairs = override_pairs({"l0__max_files": 20, "fanout": 4, "l0": L0Config(max_files=9), "levels": [LevelConfig()]})
    assert dict(pairs)["l0.max_files"] == "20"
    assert dict(pairs)["fanout"] == "4"
    assert dict(pairs)["levels"] == "lz4/4096/none"
    unknown = ["fanouts", "l0__max", "levels__compression", "l0__", "__max_files", "l0_max_files", "wal__l0__max_files"]
    for name in unknown:
        with pytest.raises(TypeError, match=name):
            override_pairs({name: 1})


def test_overrides_are_checked_when_opening(path: Path) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        nori_lsm.open(path, nonsense=1)
    with pytest.raises(ValueError, match="fanout"):
        nori_lsm.open(path, fanout=1)
    with pytest.raises(ValueError, match=r"l0\.max_files"):
        nori_lsm.open(path, l0__max_files=3)
    with pytest.raises(ValueError, match="num_slots"):
        nori_lsm.open(path, num_slots=1, l1_slot_count=1)
    with pytest.raises(TypeError, match="Config"):
        nori_lsm.open(path, {"fanout": 4})  # type: ignore[arg-type]
    nori_lsm.open(path).close()


def test_config_is_kept_but_for_what_belongs_to_the_machine(path: Path) -> None:
    chosen = dataclasses.replace(UNUSUAL, resources=ResourceConfig(block_cache_mib=8))
    with nori_lsm.open(path, chosen, k_global=2) as db:
        assert db.config == dataclasses.replace(chosen, k_global=2)
    with nori_lsm.open(path) as db:
        kept = db.config
        assert kept == dataclasses.replace(
            chosen, k_global=2, wal=WalConfig(), io=IoConfig(), resources=ResourceConfig()
        )
    with nori_lsm.open(path, num_slots=3) as db:
        assert db.config == dataclasses.replace(kept, l1_slot_count=3)
    with nori_lsm.open(path, Config()) as db:
        assert db.config == Config()
    with nori_lsm.open(path, read_only=True, fanout=5) as db:
        assert db.config.fanout == 5
    with nori_lsm.open(path) as db:
        assert db.config == Config()
