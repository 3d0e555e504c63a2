"""Checkpoints: bit-identical on any mesh, never silently wrong, and usable after a kill at any point."""

import json
import logging
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from mxjax import checkpoint
from mxjax.checkpoint import Checkpointer

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))


def make_state(step, size=8):
    """A state all of whose values depend on `step`, with an optax state that has moved."""
    key = jax.random.fold_in(jax.random.key(0), step)
    tree = {
        "embed": jax.random.normal(key, (size, 16)),
        "layers": {"wq": jax.random.normal(key, (2, size, 4)).astype(jnp.bfloat16)},
        "odd": jnp.array([np.nan, -0.0, np.inf, 1e-45], jnp.float32),
    }
    optimizer_state = OPTIMIZER.init(tree)
    _, optimizer_state = OPTIMIZER.update(jax.tree.map(jnp.ones_like, tree), optimizer_state, tree)
    return {"params": {"shared": tree}, "opt_executor": optimizer_state, "meta": {"step": step, "key": [0, step]}}


def start(program, *arguments):
    """A Python process that runs `program`, which may import this file."""
    here = pathlib.Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parent}"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def bits(tree):
    return [(np.asarray(leaf).dtype, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert bits({k: v for k, v in a.items() if k != "meta"}) == bits({k: v for k, v in b.items() if k != "meta"})
    assert a.get("meta") == b.get("meta")


def abstract(state, sharding=None):
    def one(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding(leaf) if sharding else None)

    return {k: v if k == "meta" else jax.tree.map(one, v) for k, v in state.items()}


def mesh_of(devices):
    return jax.make_mesh((devices,), ("fsdp",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def over(mesh, axis):
    """Sharding that splits the given dimension where it is even."""

    def sharding(leaf):
        spec = [None] * leaf.ndim
        if leaf.ndim and leaf.shape[axis % leaf.ndim] % mesh.size == 0:
            spec[axis % leaf.ndim] = "fsdp"
        return NamedSharding(mesh, P(*spec))

    return sharding


def flip_bit(path, position=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


def data_file(step_path):
    """The largest file of the params item: an array's bytes."""
    return max((p for p in (step_path / "params").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_round_trip_is_bit_identical(tmp_path):
    state = make_state(3)
    checkpoint.save(tmp_path, state, 3)
    for like in (state, abstract(state)):
        restored = checkpoint.restore(tmp_path, like)
        assert_same(restored, state)
        assert isinstance(restored["opt_executor"][1][0], optax.ScaleByAdamState)


@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 8), (8, 1), (8, 8), (4, 2)])
def test_any_mesh_restores_any_other(tmp_path, saved_on, restored_on):
    state = make_state(1)
    place = over(mesh_of(saved_on), 0)
    sharded = {
        k: v if k == "meta" else jax.tree.map(lambda x: jax.device_put(x, place(x)), v) for k, v in state.items()
    }
    checkpoint.save(tmp_path, sharded, 1)
    like = abstract(state, over(mesh_of(restored_on), -1))
    restored = checkpoint.restore(tmp_path, like)
    assert_same(restored, state)
    for leaf, target in zip(jax.tree.leaves(restored["params"]), jax.tree.leaves(like["params"])):
        assert leaf.sharding == target.sharding


def test_leaves_that_are_not_finite_are_named_in_order_wherever_they_lie():
    def spoilt(*shape):
        return np.full(shape, np.nan, np.float32)

    parked = SingleDeviceSharding(jax.devices()[0], memory_kind="pinned_host")
    params = {
        "a": jax.device_put(spoilt(8), NamedSharding(mesh_of(2), P("fsdp"))),
        "b": jnp.zeros(3),
        "c": spoilt(2),
        "d": jax.device_put(spoilt(4), parked),
        "e": jnp.array([1.0, jnp.inf], jnp.bfloat16),
        "f": jnp.array([2**31 - 1]),
        "g": jax.device_put(jnp.ones(4), parked),
    }
    found = checkpoint.not_finite({"params": params, "meta": {"step": float("nan")}})
    assert found == [f"params['{name}']" for name in "acde"]


def test_host_memory_and_numpy_leaves_come_back_as_asked(tmp_path):
    host = SingleDeviceSharding(jax.devices()[0], memory_kind="pinned_host")
    parked = jax.device_put(jnp.arange(8.0), host)
    state = {"opt_designer": {"mu": parked, "count": np.arange(3)}}
    checkpoint.save(tmp_path, state, 1)
    restored = checkpoint.restore(tmp_path, state)["opt_designer"]
    assert restored["mu"].sharding.memory_kind == "pinned_host"
    assert isinstance(restored["count"], np.ndarray)
    assert bits(restored) == bits(state)


def test_saved_values_are_those_at_the_call(tmp_path):
    """Donation, mutation and later edits of `meta` must not reach a save that is still being written."""
    consume = jax.jit(lambda x: x - 1, donate_argnums=0)
    array = jnp.arange(4_000_000.0)
    host = np.arange(1_000_000)
    meta = {"step": 1, "list": [1]}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save({"params": {"shared": {"a": array, "b": host}}, "meta": meta}, 1)
        meta["list"].append(2)
        host[:] = -1
        for _ in range(20):
            array = consume(array)
        array.block_until_ready()
    restored = checkpoint.restore(tmp_path, {"params": {"shared": {"a": array, "b": host}}, "meta": None})
    assert np.array_equal(restored["params"]["shared"]["a"], np.arange(4_000_000, dtype=np.float32))
    assert np.array_equal(restored["params"]["shared"]["b"], np.arange(1_000_000))
    assert restored["meta"] == {"step": 1, "list": [1]}


def test_keeps_the_newest_and_reads_any(tmp_path):
    with Checkpointer(tmp_path, keep=2) as checkpointer:
        for step in (1, 2, 5):
            checkpointer.save(make_state(step), step)
        checkpointer.wait()
        assert checkpointer.steps() == [2, 5] and checkpointer.latest_step() == 5
        assert_same(checkpointer.restore(make_state(0), step=2), make_state(2))
    assert checkpoint.steps(tmp_path) == [2, 5] and checkpoint.latest_step(tmp_path) == 5
    with pytest.raises(ValueError, match="at least 1"):
        Checkpointer(tmp_path, keep=0)


def test_saving_an_old_step_is_an_error(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(make_state(4), 4)
        for step in (4, 3):
            with pytest.raises(ValueError, match=f"step {step} is not after step 4"):
                checkpointer.save(make_state(step), step)
    assert_same(checkpoint.restore(tmp_path, make_state(0)), make_state(4))


def test_only_the_named_items_and_policies_are_read(tmp_path):
    split = {"designer": {"w": jnp.ones((2, 2))}, "executor": {"w": jnp.zeros((2, 2))}}
    checkpoint.save(tmp_path, {"params": split, "meta": {"step": 7}}, 7)
    restored = checkpoint.restore(tmp_path, {"params": {"executor": split["executor"]}})
    assert list(restored) == ["params"] and list(restored["params"]) == ["executor"]
    assert bits(restored["params"]["executor"]) == bits(split["executor"])
    assert checkpoint.leaves(tmp_path)["params"] == {
        "['designer']['w']": ((2, 2), "float32"),
        "['executor']['w']": ((2, 2), "float32"),
    }


def test_a_like_that_does_not_fit_names_the_leaf(tmp_path):
    state = make_state(1)
    checkpoint.save(tmp_path, state, 1)

    def like(path, leaf):
        changed = abstract(state)
        tree = changed["params"]["shared"]
        for name in path[:-1]:
            tree = tree[name]
        tree.pop(path[-1]) if leaf is None else tree.update({path[-1]: leaf})
        return changed

    struct = jax.ShapeDtypeStruct
    cases = [
        (
            like(["layers", "wq"], struct((2, 8, 4), jnp.float32)),
            r"\['layers'\]\['wq'\] was saved as bfloat16\[2, 8, 4\]",
        ),
        (like(["embed"], struct((16, 8), jnp.float32)), r"\['embed'\] .* is asked for as float32\[16, 8\]"),
        (like(["extra"], struct((1,), jnp.float32)), r"no leaf params\['shared'\]\['extra'\]"),
        (like(["odd"], None), r"holds the leaf params\['shared'\]\['odd'\], which is not asked for"),
        ({"opt_designer": {}}, "has no item 'opt_designer'; it has meta, opt_executor, params"),
        ({"opt_executor": optax.sgd(0.1).init({})}, "holds the leaf opt_executor"),
    ]
    for wrong, reason in cases:
        with pytest.raises(ValueError, match=reason):
            checkpoint.restore(tmp_path, wrong)
    assert_same(checkpoint.restore(tmp_path, state), state)


def test_what_cannot_be_saved_is_named(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        for bad, reason in (
            ({"params": {"lr": 0.1}}, r"params\['lr'\] is float"),
            ({"params": {"key": jax.random.key(0)}}, r"params\['key'\] .* PRNG keys"),
            ({"meta": {"x": np.float32(1)}}, "'meta' must be JSON"),
        ):
            with pytest.raises(ValueError, match=reason):
                checkpointer.save(bad, 1)
        checkpointer.save(make_state(1), 1)
    assert checkpoint.steps(tmp_path) == [1]


def test_missing_checkpoints_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished checkpoint; pass the directory that holds the numbered"):
        checkpoint.restore(tmp_path / "nowhere", {})
    checkpoint.save(tmp_path / "checkpoints", make_state(2), 2)
    with pytest.raises(FileNotFoundError, match=r"no finished checkpoint; pass .*checkpoints"):
        checkpoint.restore(tmp_path, {})
    with pytest.raises(FileNotFoundError, match="has no step 3; finished steps: 2"):
        checkpoint.restore(tmp_path / "checkpoints", {}, step=3)
    assert checkpoint.steps(tmp_path / "nowhere") == [] and checkpoint.latest_step(tmp_path / "nowhere") is None


def test_a_flipped_bit_is_set_aside_and_the_step_before_it_restored(tmp_path, caplog):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, make_state(step), step)
    flip_bit(data_file(tmp_path / "3"))
    with caplog.at_level(logging.WARNING, logger="mxjax.checkpoint"), Checkpointer(tmp_path) as checkpointer:
        assert_same(checkpointer.restore(make_state(0)), make_state(2))
        assert len(caplog.messages) == 1
        for part in ("step 3 in", "differs from what was written", "it is now 3.bad", "falling back to step 2"):
            assert part in caplog.messages[0]
        checkpointer.save(make_state(3), 3)
    assert_same(checkpoint.restore(tmp_path, make_state(0)), make_state(3))
    flip_bit(data_file(tmp_path / "3"))
    with pytest.raises(ValueError, match=r"step 3 .* is damaged .* it is now 3.bad2; older finished steps: 1, 2"):
        checkpoint.restore(tmp_path, make_state(0), step=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "3.bad", "3.bad2"]


def test_no_undamaged_step_left(tmp_path):
    checkpoint.save(tmp_path, make_state(1), 1)
    data_file(tmp_path / "1").unlink()
    with pytest.raises(FileNotFoundError, match=r"is missing\); it is now 1.bad, and no older step is left"):
        checkpoint.restore(tmp_path, make_state(0))


def test_no_file_of_a_step_can_be_damaged_unnoticed(tmp_path, caplog):
    """Whatever file of the newest step is damaged, the restored state is exactly that of one of the two steps."""
    for step in (1, 2):
        checkpoint.save(tmp_path / "clean", make_state(step), step)
    files = [p.relative_to(tmp_path / "clean") for p in (tmp_path / "clean" / "2").rglob("*") if p.is_file()]
    assert len(files) > 10
    fell_back = 0
    for number, file in enumerate(files):
        broken = tmp_path / str(number)
        shutil.copytree(tmp_path / "clean", broken)
        (broken / file).write_bytes(b"") if not (broken / file).stat().st_size else flip_bit(broken / file)
        restored = checkpoint.restore(broken, make_state(0))
        step = restored["meta"]["step"]
        assert_same(restored, make_state(step))
        fell_back += step == 1
    root_notes = [f for f in files if len(f.parts) == 2 and f.name != checkpoint.MANIFEST]
    assert fell_back == len(files) - len(root_notes)


def test_a_damaged_manifest_condemns_its_step(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, make_state(step), step)
    manifest = tmp_path / "2" / checkpoint.MANIFEST
    manifest.write_text(manifest.read_text().replace("bfloat16", "float16", 1))
    assert_same(checkpoint.restore(tmp_path, make_state(0)), make_state(1))
    (tmp_path / "1" / checkpoint.MANIFEST).write_text("[]")
    with pytest.raises(FileNotFoundError, match="is not readable"):
        checkpoint.restore(tmp_path, make_state(0))


def test_a_step_without_manifest_is_unfinished(tmp_path, caplog):
    """Readers pass it over and leave it alone, since its writer may still be at work; the next writer moves it."""
    for step in (1, 2):
        checkpoint.save(tmp_path, make_state(step), step)
    (tmp_path / "2" / checkpoint.MANIFEST).unlink()
    assert checkpoint.steps(tmp_path) == [1]
    assert_same(checkpoint.restore(tmp_path, make_state(0)), make_state(1))
    with pytest.raises(FileNotFoundError, match="no step 2; finished steps: 1"):
        checkpoint.restore(tmp_path, make_state(0), step=2)
    assert (tmp_path / "2").exists()
    with caplog.at_level(logging.WARNING, logger="mxjax.checkpoint"), Checkpointer(tmp_path) as checkpointer:
        assert f"step 2 in {tmp_path} has no manifest.json; it is now 2.bad" in caplog.messages[0]
        checkpointer.save(make_state(2), 2)
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_a_finished_step_always_has_its_manifest(tmp_path, monkeypatch):
    """The manifest is written before Orbax renames the step into place, so no kill can fall between the two."""
    seen = []
    write = Checkpointer._write_manifest
    monkeypatch.setattr(
        Checkpointer, "_write_manifest", lambda self: (seen.append(sorted(os.listdir(tmp_path))), write(self))
    )
    checkpoint.save(tmp_path, make_state(1), 1)
    assert len(seen) == 1 and "1" not in seen[0]
    assert checkpoint.steps(tmp_path) == [1]


def test_leftovers_of_a_killed_save_are_ignored_and_removed(tmp_path):
    checkpoint.save(tmp_path, make_state(1), 1)
    shutil.copytree(tmp_path / "1", tmp_path / "2.orbax-checkpoint-tmp")
    assert checkpoint.steps(tmp_path) == [1]
    assert_same(checkpoint.restore(tmp_path, make_state(0)), make_state(1))
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(make_state(2), 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    assert_same(checkpoint.restore(tmp_path, make_state(0)), make_state(2))


def test_a_failed_write_is_raised(tmp_path, monkeypatch):
    def fail(self):
        raise OSError("disk full")

    monkeypatch.setattr(Checkpointer, "_write_manifest", fail)
    with pytest.raises(OSError, match="disk full"), Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(make_state(1), 1)
        checkpointer.wait()
    assert checkpoint.steps(tmp_path) == []


SAVE_LOOP = """
import itertools, sys
from test_checkpoint import Checkpointer, make_state
with Checkpointer(sys.argv[1], keep=2) as checkpointer:
    done = checkpointer.restore(make_state(0, 4096))["meta"]["step"] if checkpointer.steps() else 0
    for step in itertools.count(done + 1):
        checkpointer.save(make_state(step, 4096), step)
        if step == done + 1:
            checkpointer.wait()
            print("saving", flush=True)
"""


def test_kill_at_any_time_leaves_whole_steps(tmp_path):
    rng = random.Random(0)
    reached = 0
    for _ in range(3):
        process = start(SAVE_LOOP, tmp_path)
        assert process.stdout.readline() == "saving\n"
        time.sleep(rng.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        restored = checkpoint.restore(tmp_path, make_state(0, 4096))
        step = restored["meta"]["step"]
        assert step == checkpoint.latest_step(tmp_path) > reached
        assert_same(restored, make_state(step, 4096))
        assert not list(tmp_path.glob("*.bad*"))
        reached = step


TWO_PROCESSES = """
import pathlib, sys
import jax
directory, port, process = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.distributed.initialize("localhost:" + port, 2, process)
from jax.experimental import multihost_utils
from test_checkpoint import *
place = over(mesh_of(len(jax.devices())), 0)
def spread(step):
    def one(leaf):
        return jax.make_array_from_callback(leaf.shape, place(leaf), lambda index: np.asarray(leaf)[index])
    return {k: v if k == "meta" else jax.tree.map(one, v) for k, v in make_state(step).items()}
with Checkpointer(directory) as checkpointer:
    for step in (1, 2):
        checkpointer.save(spread(step), step)
    checkpointer.wait()
    if process == 0:
        flip_bit(data_file(pathlib.Path(directory, "2")))
    multihost_utils.sync_global_devices("damaged")
    restored = checkpointer.restore(spread(0))
    for got, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(spread(1)), strict=True):
        if isinstance(got, jax.Array):
            assert bits([s.data for s in got.addressable_shards]) == bits([s.data for s in wanted.addressable_shards])
    checkpointer.save(spread(3), 3)
    print(restored["meta"]["step"], checkpointer.steps())
"""


def test_two_processes_save_fall_back_and_restore_together(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [start(TWO_PROCESSES, tmp_path, port, i) for i in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [output.splitlines()[-1] for output in outputs] == ["1 [1]", "1 [1]"]
    assert_same(checkpoint.restore(tmp_path, make_state(0)), make_state(3))


def test_manifest_reads_as_json_and_names_everything(tmp_path):
    checkpoint.save(tmp_path, make_state(1), 1)
    body = json.loads(json.loads((tmp_path / "1" / checkpoint.MANIFEST).read_text())["body"])
    assert body["step"] == 1 and sorted(body["items"]) == ["meta", "opt_executor", "params"]
    assert body["leaves"]["params"]["['shared']['layers']['wq']"] == [[2, 8, 4], "bfloat16"]
    assert any(name.startswith("opt_executor/") for name in body["files"])
