"""`mxjax plan`: what lies in memory at once, the verdict, and programs compiled for real TPU slices where libtpu is."""

import os
import pathlib
import re
import runpy

import jax
import pytest
from runs import mxjax
from support import optimizer_settings, optional

from mxjax import cli
from mxjax.config import default_config
from mxjax.errors import UserError
from mxjax.models import preset, save_hf
from mxjax.models.attention import BLOCK
from mxjax.models.io import load
from mxjax.models.params import num_params
from mxjax.plan.hlo import Cost, Traffic, program_cost
from mxjax.plan.plan import Plan, Program, _bytes_needed, _resident, forward_flops, make_plan, model_config
from mxjax.plan.text import advice, table
from mxjax.plan.tpu import GIB, parse_slice
from mxjax.rl import make_optimizer, make_policy_loss
from mxjax.rl.programs import Programs
from mxjax.rl.stages import ROLES
from mxjax.sharding import make_mesh

PARTS = {"params": 1, "gradients": 1, "optimiser states": 2, "idle optimiser states": 2, "engine's copy": 4,
         "KV pages": 3}  # fmt: skip


def tiny_config(**rl):
    """A config of one layer's work that every kind of chip compiles in seconds."""
    config = runpy.run_path("configs/tiny.py")["get_config"]()
    config.rl.update(rl)
    return config


def made_up(peak_gib, slots=8, cost=True):
    """A plan whose gradient program peaks at so many GiB beside 8 GiB of other things."""
    cost = Cost(1e12, 1e9, {"all-gather": Traffic(7, 3e9)}, 0.5, 0.25) if cost else None
    parts = {name: size * GIB for name, size in PARTS.items()}
    programs = {name: Program(peak_gib * GIB // 4, 0, GIB, cost) for name in ("apply", "score", "prefill", "decode")}
    programs = {"accumulate": Program(peak_gib * GIB, 0, GIB, cost), **programs}
    return Plan(
        parse_slice("v5e:4x4"), preset("qwen3-0.6b"), {"data": 1, "fsdp": 16, "tensor": 1}, (16, 1024), slots, 1024, 16,
        "tpu", 2, parts, dict.fromkeys(programs, 8 * GIB), programs,
    )  # fmt: skip


def test_what_lies_beside_the_arguments_of_each_program():
    """One policy: a program's own arguments are not counted twice, and all else that is alive is counted once."""
    resident = _resident(PARTS, 1, [2, 2], 1)
    everything = sum(PARTS.values())
    assert (
        resident["accumulate"] == everything - (PARTS["params"] + PARTS["gradients"]) - PARTS["idle optimiser states"]
    )
    assert resident["apply"] == resident["accumulate"] - 2
    assert resident["decode"] == resident["prefill"] == everything - PARTS["gradients"] - 4 - 3


def test_two_policies_have_two_of_everything_but_the_gradient():
    parts = {**PARTS, "params": 2, "engine's copy": 8, "KV pages": 6}
    resident = _resident(parts, 2, [2, 2], 1)
    assert resident["accumulate"] == 1 + 2 + 8 + 6
    assert resident["decode"] == 2 + 2 + 2 + (8 + 6) // 2


def test_the_verdict_counts_what_is_resident_at_once():
    assert made_up(7).fits and not made_up(8).fits
    plan = made_up(7)
    assert plan.worst == "accumulate" and plan.peak("accumulate") == 15 * GIB
    assert plan.step_s == 2 * 0.5 + 0.5
    assert plan.mfu == pytest.approx(2 * 3 * forward_flops(plan.cfg, 16, 1024) / 1.5 / 16 / 197e12)


def test_the_table_has_every_part_and_every_program():
    printed = table(made_up(7), "my.py", "a compiler")
    for word in (
        "v5e:4x4: 16 chips of 15.75 GiB on 4 hosts",
        *PARTS,
        "accumulate",
        "decode",
        "15.00",
        "500.0 ms",
        "MFU",
    ):
        assert word in printed
    refused = table(made_up(20, cost=False), "my.py", "a compiler")
    assert "does not compile" in refused and "MFU" not in refused


def test_the_advice_names_settings_that_help():
    config = default_config()
    config.rl.microbatch_rows, config.model.remat = 2, "none"
    said = advice(made_up(9), config)
    assert "1.25 GiB more" in said
    for change in ("model.remat=full", "microbatch_rows=1", "mesh.tensor=4", "engine.slots=4", "twice as many chips"):
        assert change in said
    assert "engine.slots" not in advice(made_up(9, slots=1), config)


@pytest.mark.parametrize(
    ("message", "needed"),
    [
        ("RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
         "Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.", 20.5 * GIB),
        ("RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
         "temporaries (384.00G) exceeds available HBM (15.75G). HLO module: jit_f.", 384 * GIB),
        ("INTERNAL: something else (3.00G) exceeds available HBM (1.0G)", None),
        ("RESOURCE_EXHAUSTED: of patience", None),
    ],
)  # fmt: skip
def test_a_program_that_does_not_fit_says_how_much_it_needs(message, needed):
    assert _bytes_needed(message) == needed


def test_the_model_is_known_from_its_name_or_its_headers(tmp_path):
    config = tiny_config()
    for init, name in [("hf:Qwen/Qwen3-8B", "qwen3-8b"), ("random:tiny", "tiny"), ("smollm2-135m", "smollm2-135m"),
                       ("hf:Qwen/Qwen3-4B@main", "qwen3-4b")]:  # fmt: skip
        config.init = init
        assert model_config(config) == preset(name).replace(**config.model)
    save_hf(load("random:tiny"), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    config.init = str(tmp_path)
    assert model_config(config) == preset("tiny").replace(**config.model)
    for init in ("hf:someone/else", str(tmp_path / "nothing"), "random:nothing"):
        config.init = init
        with pytest.raises(UserError):
            model_config(config)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config=configs/tiny.py"], "needs --topology"),
        (["--config=configs/tiny.py", "--topology=v5e:8"], "2 dimensions"),
        (["--config=configs/tiny.py", "--topology=v5e:2x2", "--config.init=random:none"], "unknown model preset"),
        (["--topology=v5e:2x2"], "mxjax plan --config tiny --topology"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, capsys):
    assert cli.main(["plan", *arguments]) == 2
    printed = capsys.readouterr().err
    assert sentence in printed and printed.count("\n") == 1


SIMULATED = ("plan", "--config=configs/tiny.py", "--topology=v5litepod-4", "--cpu", "--config.rl.row_length=256",
             "--config.engine.slots=4")  # fmt: skip


@pytest.mark.slow
def test_simulated_devices_give_the_same_table():
    """Every program of the tiny run, for four chips, through the command line."""
    done = mxjax(*SIMULATED)
    assert "fits: at most" in done.stdout and "v5e:2x2: 4 chips" in done.stdout and "MFU" in done.stdout
    assert all(f"compiling {name}" in done.stderr for name in ("accumulate", "apply", "score", "prefill", "decode"))


@pytest.mark.slow
def test_a_run_that_does_not_fit_is_told_so_and_exits_with_1():
    done = mxjax(*SIMULATED, "--config.engine.pages=4_000_000", check=False)
    assert done.returncode == 1 and "does not fit: " in done.stdout, done.stdout + done.stderr


# With the TPU's compiler.

SLICES = ("v5e:2x2", "v5p:2x2x1", "v6e:2x2")


@pytest.fixture
def libtpu(monkeypatch):
    """Skips without the compiler; lets it load beside another process's."""
    optional("libtpu")
    monkeypatch.setitem(os.environ, "ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    monkeypatch.setitem(os.environ, "TPU_SKIP_MDS_QUERY", "1")


@pytest.mark.parametrize("name", SLICES)
def test_a_model_compiles_for_every_kind_of_chip(libtpu, name):
    """The scoring program: it fits, and its FLOPs are the formula's, with attention's blocks whole."""
    where, cfg = parse_slice(name), preset("tiny").replace(num_hidden_layers=2, dtype="bfloat16")
    mesh = make_mesh({"fsdp": 4}, where.devices())
    programs = Programs(cfg, make_optimizer(optimizer_settings()), make_policy_loss(), ROLES, (4, 2 * BLOCK), mesh)
    compiled = programs.lower("score").compile()
    assert 0 < compiled.memory_analysis().peak_memory_in_bytes < where.chip.hbm_bytes
    cost = program_cost(compiled.as_text(), (1.5,), where.chip.rates)
    T, attention = 2 * BLOCK, 4 * cfg.num_attention_heads * cfg.head_dim * cfg.num_hidden_layers
    masked = attention * (1.5 * BLOCK * T - T * (T + 1) / 2)
    assert cost.flops == pytest.approx(forward_flops(cfg, 1, T) + masked, rel=0.05)
    assert cost.seconds > 0 and set(cost.collectives) & {"all-gather", "all-reduce"}


def test_the_compilers_refusal_is_read(libtpu):
    where = parse_slice("v5e:1x1")
    whole = jax.sharding.SingleDeviceSharding(where.devices()[0])
    big = jax.ShapeDtypeStruct((8 * GIB,), "float32", sharding=whole)
    with pytest.raises(jax.errors.JaxRuntimeError) as refused:
        jax.jit(lambda x: x + 1, out_shardings=whole).lower(big).compile()
    assert _bytes_needed(str(refused.value)) >= 32 * GIB


@pytest.mark.slow
@pytest.mark.parametrize("name", SLICES)
def test_a_whole_plan_for_every_kind_of_chip(libtpu, name):
    """Arguments are what the shapes say. The v5e slice has four hosts, each with an engine over its own four chips."""
    where = parse_slice("v5e:4x4" if name == "v5e:2x2" else name)
    config = tiny_config(row_length=256)
    with config.unlocked():  # a shard of every parameter is as wide as a tile
        config.model.update(hidden_size=1024, intermediate_size=2048, head_dim=128)
    plan = make_plan(config, where)
    assert plan.fits and all(program.cost for program in plan.programs.values())
    arguments = plan.parts["params"] + plan.parts["gradients"]
    assert plan.programs["accumulate"].arguments == pytest.approx(arguments, rel=0.15)  # tiles are padded
    assert 0 < plan.mfu < 1 and plan.step_s > 0
    copy = jax.numpy.dtype(plan.cfg.dtype).itemsize * num_params(plan.cfg)  # two kv heads are on each chip
    assert where.hosts == (4 if where.kind == "v5e" else 1)
    assert copy / 4 <= plan.parts["engine's copy"] <= 1.5 * copy / 4


@pytest.mark.slow
@pytest.mark.parametrize(("program", "passes"), [("score", 1), ("accumulate", 4)])
def test_products_that_overlap_with_communication_count_once(libtpu, program, passes):
    """Qwen3-8B's widths over fsdp and tensor, where products become loops over windows that count by two.

    The gradient takes a forward pass, one more to recompute, and a backward pass of twice its FLOPs.
    """
    where = parse_slice("v5e:4x8")
    cfg = preset("qwen3-8b").replace(num_hidden_layers=1, vocab_size=16_384)
    rows, T = 8, 8 * BLOCK
    programs = Programs(cfg, make_optimizer(optimizer_settings()), make_policy_loss(), ROLES, (rows, T),
                        make_mesh({"fsdp": 8, "tensor": 4}, where.devices()))  # fmt: skip
    cost = program_cost(programs.lower(program).compile().as_text(), (4.5,), where.chip.rates)
    assert cost.flops == pytest.approx(passes * forward_flops(cfg, rows, T) / where.chips, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "where"),
    [("qwen3_0p6b", "v5e:2x2"), ("qwen3_4b", "v5e:4x8"), ("qwen3_8b", "v5e:8x8"), ("qwen3_8b", "v5p:2x2x2"),
     ("qwen3_8b", "v6e:4x8")],
)  # fmt: skip
def test_the_configs_fit_where_the_documentation_says(libtpu, config, where):
    """Whole tables, from one to three minutes each."""
    command = f"--config=configs/{config}.py --topology={where}"
    documented = pathlib.Path("docs/plans.md").read_text().split(f"$ mxjax plan {command}\n")[1].split("```")[0]
    done = mxjax("plan", *command.split(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    peak, said = (float(re.search(r"fits: at most ([\d.]+) of", text)[1]) for text in (done.stdout, documented))
    assert peak == pytest.approx(said, rel=0.02)
