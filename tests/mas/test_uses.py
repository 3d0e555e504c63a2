"""Telemetry of what designs use and why they are refused: bounded words, told without running."""

import ast
import builtins
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts import HEAD

from mxjax import mas
from mxjax.mas.library.modules import NAMES
from mxjax.mas.machines import ALL_MODULES
from mxjax.mas.uses import _CONSTRUCTS, _DUNDERS, _KINDS, _MODULES, _WORDS, refused, uses
from mxjax.rollout import Design, Question, QuestionTree

RUN = 'Workflow().add_node(AgentNode("A", "x")).run(question)\n'


def why(source):
    with pytest.raises(mas.DesignError) as error:
        mas.check(source)
    return refused(error.value.kind, str(error.value))


def test_modules_constructs_and_objects_of_the_library_are_counted():
    source = HEAD + (
        "import os.path, concurrent.futures as cf\nfrom collections import Counter\nimport workflow as w\n"
        "class A(Exception):\n    pass\n"
        "@property\ndef f(*a):\n    yield from [*a]\n"
        "x = [i for i in (1, 2)]\nwhile False:\n    raise A\n"
        "async def g():\n    await f()\nn = w.EnsembleNode\n" + RUN
    )
    assert uses(mas.check(source)) == {
        "os.path", "concurrent.futures", "collections", "workflow", "class", "subclass", "decorator", "generator",
        "comprehension", "while", "raise", "async", "function", "star", "Workflow", "AgentNode", "EnsembleNode",
    }  # fmt: skip


def test_own_names_do_not_count_as_the_librarys():
    assert "AgentNode" not in uses(mas.check("AgentNode = 1\nprint(AgentNode)"))


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import numpy as np", "import numpy"),
        ("from sklearn.metrics import f1_score", "import sklearn"),
        ("import socket", "import socket"),
        ("import my_private_helpers", "import other"),
        ("x = ().__class__.__subclasses__()", "__subclasses__"),
        ("x = a.__of_my_own__", "forbidden"),
        ("try:\n    pass\nexcept* ValueError:\n    pass", "TryStar"),
        ("x = b'ab'", "bytes"),
        ("x = 2j", "complex"),
        ("missing_name", "name"),
        ("help()\nopen('x')", "help()"),
        ("x = (", "syntax"),
        ("", "other"),
    ],
)
def test_why_a_design_is_refused(source, what):
    assert (why(source) if source else refused("of_the_future", "anything")) == what


def test_a_step_is_shares_of_its_designs():
    reason = "line 2, column 1: the module 'numpy' is not available to a design"
    designs = [Design(0, None, HEAD + RUN, "", ()), Design(1, None, HEAD + "import json\n" + RUN, "", ())]
    designs += [Design(i, None, "import numpy", reason, (), "import") for i in (2, 3)]
    tree = QuestionTree(Question("q", "?", "1"), tuple(designs))
    shares = mas.use_shares([tree])
    assert shares["design_uses/json"] == 0.5 and shares["design_uses/AgentNode"] == 1.0
    assert shares["design_refused/import numpy"] == 0.5
    assert all(0 < value <= 1 for value in shares.values())
    assert mas.use_shares([]) == {}


@given(st.text(string.ascii_letters + "_. '", max_size=40), st.sampled_from(sorted(_KINDS)), st.integers(0, 4))
def test_no_text_of_a_design_becomes_the_name_of_a_metric(text, kind, shape):
    reason = (
        text, f"the module '{text}' is not available to a design", f"the name '__{text}__' is not available",
        f"{text} is not part of the script language", f"{text} is not available to a design; write it",
    )[shape]  # fmt: skip
    words = {*_KINDS, *_DUNDERS, *_WORDS, "other", *dir(ast), *(f"{name}()" for name in dir(builtins))}
    assert refused(kind, reason) in words | {f"import {name}" for name in (*_MODULES, "other")}


def test_the_vocabulary_holds_all_that_a_script_can_use():
    assert set(ALL_MODULES) <= _MODULES
    assert not set(_CONSTRUCTS) & set(ALL_MODULES) and not set(_CONSTRUCTS) & set(NAMES)
