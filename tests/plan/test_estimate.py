"""The estimate behind `mxjax doctor MODEL`, against what the TPU's compiler found for the documentation's tables."""

import pathlib
import re

import pytest

from mxjax.models import preset
from mxjax.plan.estimate import SLOTS, smallest_slices, training_bytes
from mxjax.plan.tpu import GIB, parse_slice

TABLES = re.findall(
    r"configs/(\w+)\.py on (v\w+:[\dx]+):.*?engine of each host: \d+ chips?, (\d+) slots.*?"
    r"KV pages +([\d.]+).*?at most ([\d.]+) of",
    pathlib.Path("docs/plans.md").read_text(), re.DOTALL,
)  # fmt: skip


def test_every_table_was_read():
    assert len(TABLES) == 9 and len({table[:2] for table in TABLES}) == 9


@pytest.mark.parametrize(("config", "where", "slots", "pages", "peak"), TABLES)
def test_the_estimate_is_what_the_compiler_found(config, where, slots, pages, peak):
    cfg, where = preset(config.replace("_", "-").replace("0p6", "0.6")), parse_slice(where)
    other_slots = float(pages) * (1 - SLOTS / int(slots))  # the table's engine may have more
    assert training_bytes(cfg, where.chip, where.chips) / GIB + other_slots == pytest.approx(float(peak), rel=0.05)


@pytest.mark.parametrize(
    ("model", "where", "peak"),
    [("qwen3-8b", "v6e:2x4", 29.33), ("qwen3-8b", "v5e:4x8", 17.55), ("qwen3-4b", "v5e:2x4", 16.05),
     ("qwen3-4b", "v6e:2x2", 27.94), ("qwen3-0.6b", "v6e:1x1", 21.36)],
)  # fmt: skip
def test_and_where_it_decides(model, where, peak):
    """What was compiled for the slices that are just large enough or just too small (docs/pods.md)."""
    where = parse_slice(where)
    assert training_bytes(preset(model), where.chip, where.chips) / GIB == pytest.approx(peak, rel=0.03)


def test_the_smallest_slice_grows_with_the_model():
    sizes = [smallest_slices(preset(name)) for name in ("qwen3-0.6b", "qwen3-4b", "qwen3-8b")]
    assert [size["v5e"] for size in sizes] == [4, 16, 64] and [size["v6e"] for size in sizes] == [1, 4, 8]
    assert smallest_slices(preset("qwen3-32b"))["v5e"] is None  # its copy alone is 16 GB on each chip of a host
    assert set(smallest_slices(preset("qwen3-32b").replace(num_hidden_layers=4096)).values()) == {None}


def test_heads_that_do_not_divide_are_on_every_chip():
    where, cfg = parse_slice("v5e:4x4"), preset("qwen3-8b")
    one, two = (cfg.replace(num_key_value_heads=heads) for heads in (4, 2))  # of four, or both, on each of 4 chips
    assert training_bytes(two, where.chip, 16) > training_bytes(one, where.chip, 16) + GIB
