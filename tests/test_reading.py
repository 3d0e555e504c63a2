"""docs/reading.md against a step that runs.

Each function of the page is called, in its order, and hands on its shapes.
"""

import functools
import pkgutil
import re
import sys

import jax
import numpy as np
import pytest
from runs import ROOT

from mxjax import run
from mxjax.cli.config import command_config
from mxjax.sharding import make_mesh
from mxjax.train import train

PAGE = (ROOT / "docs" / "reading.md").read_text()
ROWS = re.findall(r'^\| `([\w.]+(?:\("\w+"\))?)` \| (.+) \|$', PAGE, re.MULTILINE)
SHAPE = re.compile(r"`(\w+) (\w+)\[(.*?)\]`")
SCRIPT = """from workflow import AgentNode, EnsembleNode, Workflow
solvers = [AgentNode("one", "Solve it."), AgentNode("two", "Solve it.")]
Workflow().add_node(EnsembleNode("vote", solvers, "majority_vote")).run(question)
"""
ARGUMENTS = {"sampling.device.Device.prefill": ("tokens_RC", "table_RB", "start_R")}
RESULTS = {  # names of what is handed on as a tuple or list, by place
    "sampling.device.Device.collect": ("tokens", "logprobs", "model_logprobs", "count", "stopped"),
    "models.transformer.token_stats": ("logprobs_BT", "entropies_BT"), "rl.losses.policy_loss": ("total", "weight"),
    "rl.advantages.designer_advantages": ("A_D",), "rl.advantages.executor_advantages": ("A_E",),
}  # fmt: skip


def handed_on(name, arguments, result):
    """Arrays that a call took or gave, by the names that the page gives them."""
    if name in ARGUMENTS:
        return dict(zip(ARGUMENTS[name], arguments[1:], strict=True))
    if name in RESULTS:
        return dict(zip(RESULTS[name], result if isinstance(result, tuple | list) else [result], strict=True))
    if name.startswith("rl.programs.Programs.run"):
        params, *rest = result
        named = {"embed": params["embed"], "w_up": params["layers"]["w_up"]}
        return named | (dict(zip(("norm", "ok"), rest[1:], strict=True)) if "apply" in name else {})
    first = result[0] if isinstance(result, list) else result
    return {key: getattr(first, key) for key, *_ in SHAPE.findall(dict(ROWS)[name])}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """{function: (arguments, result)} of the first calls in a tiny step, by their end."""
    seen = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "make_mesh", functools.partial(make_mesh, devices=jax.devices()[:1]))  # as the page says
        for name in dict.fromkeys(name.partition("(")[0] for name, _ in ROWS):
            watch(patched, name, seen)
        workdir = tmp_path_factory.mktemp("reading")
        flags = ["--config.init=random:tiny", "--config.rl.steps=1", "--config.eval.systems=()"]
        train(command_config("train", ["--config", "tiny", "--workdir", str(workdir), *flags])[0], quiet=True)
    return seen


def watch(patched, name, seen):
    """Put a recorder in the place of a function, wherever a module has it.

    Every design is `SCRIPT`.
    """
    outer, _, last = name.rpartition(".")
    owner = pkgutil.resolve_name(f"mxjax.{outer}")
    found = vars(owner)[last]

    @functools.wraps(found)
    def recorder(*arguments, **named):
        result = SCRIPT if last == "parse_design" else found(*arguments, **named)
        key = f'{name}("{arguments[1]}")' if last == "run" else name
        if seen or key == ROWS[0][0]:  # what comes before is loading and warming up
            seen.setdefault(key, (arguments, result))
        return result

    ours = [module for key, module in sys.modules.items() if key.partition(".")[0] == "mxjax"]
    for holder in [owner] if isinstance(owner, type) else ours:
        if vars(holder).get(last) is found:
            patched.setattr(holder, last, recorder)


def test_the_functions_of_the_page_are_there():
    for name, _ in ROWS:
        assert callable(pkgutil.resolve_name(f"mxjax.{name.partition('(')[0]}")), name
    assert len(ROWS) >= 25


@pytest.mark.slow
def test_a_step_calls_these_functions_in_this_order(calls):
    assert [name for name in calls if name in dict(ROWS)] == [name for name, _ in ROWS]


@pytest.mark.slow
def test_a_step_hands_on_these_shapes(calls):
    sizes = {}
    for letters, values in re.findall(r"^\| ((?:\w, )+\w) \| .* \| ([\d, ]+) \|$", PAGE, re.MULTILINE):
        sizes |= dict(zip(letters.split(", "), map(int, values.split(", ")), strict=True))
    assert sizes["Q"] == len(calls["data.pools.QuestionStream.batch"][1]) == len(calls["rollout.tree.collect"][1])
    segments = sizes["Q"] * sizes["M"] * (1 + 2 * sizes["N"])
    assert len(calls["rl.credit.credit"][1]) == segments
    checked = 0
    for name, text in ROWS:
        arrays, here = handed_on(name, *calls[name]), dict(sizes)
        for key, dtype, axes in SHAPE.findall(text):
            shape = arrays[key].shape
            for letter, size in zip(filter(None, axes.split(", ")), shape, strict=True):
                assert size == (int(letter) if letter.isdecimal() else here.setdefault(letter, size)), (name, key)
            assert np.dtype(arrays[key].dtype) == dtype, (name, key)
            checked += 1
    assert checked == len(SHAPE.findall(PAGE)) >= 35
