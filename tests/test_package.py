"""The package as a whole: it imports without the heavy and the optional parts."""

import subprocess
import sys

import mxjax


def test_importing_every_part_brings_in_neither_tensorflow_nor_torch():
    code = (
        "import sys, mxjax.train, mxjax.cold_start.sft, mxjax.cli.evaluate, mxjax.cli.doctor\n"
        "bad = {'tensorflow', 'torch', 'reasoning_gym', 'flax.nnx'} & set(sys.modules)\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_has_a_version():
    assert mxjax.__version__.count(".") == 2


def test_parts_are_there_without_an_import_of_their_own():
    code = "import sys, mxjax; assert 'jax' not in sys.modules; print(mxjax.mas.check, mxjax.models.load, dir(mxjax))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "'sampling'" in done.stdout, done.stderr
    assert not hasattr(mxjax, "nothing_of_the_kind")


def test_every_part_is_found_by_name_whichever_comes_first():
    code = (
        "import sys, mxjax\n"
        "parts = mxjax._PARTS\n"
        "for part in parts:\n"
        "    assert getattr(mxjax, part).__name__ == f'mxjax.{part}', part\n"
        "    for name in [name for name in sys.modules if name.startswith('mxjax.')]:\n"
        "        del sys.modules[name]\n"
        "    for name in parts:\n"
        "        vars(mxjax).pop(name, None)\n"
        "assert {*parts} <= {*dir(mxjax)}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    public = {"checkpoint", "mas", "models", "rewards", "rl", "rollout", "sampling", "sandbox"}
    assert all(hasattr(mxjax, name) for name in public) and not hasattr(mxjax, "evaluate")
