"""A record rebuilds an execution, finished or suspended, and is refused when anything in it was changed."""

import copy
import json

import pytest
from scripts import HEAD, boxed, drive
from test_execution import TOOLS, TREE, fixed_reply

from mxjax import mas
from mxjax.mas.replay import digest

SHORT = HEAD + "a = AgentNode('A', 'x')\nb = AgentNode('B', 'y')\nWorkflow().add_nodes([a, b]).run(question)"


def finished(source=SHORT, answer=lambda call: boxed(len(call.node)), **options):
    return drive(source, answer, **options)[0]


def through_json(recorded):
    return json.loads(json.dumps(recorded))


@pytest.mark.parametrize("seed", [0, 7])
def test_a_finished_run_is_rebuilt(seed):
    run = finished(TREE, fixed_reply, tools=TOOLS, seed=seed)
    again = mas.replay(through_json(mas.record(run)))
    assert again.result == run.result and again.result.fuel > 0
    assert mas.trace(again) == mas.trace(run)
    assert again.printed == run.printed


def test_a_suspended_run_goes_on_where_it_was():
    run = mas.start(mas.check(SHORT), "What is 1+1?")
    run.advance({run.pending[0].id: "first"})
    again = mas.replay(through_json(mas.record(run)))
    assert again.pending == run.pending != ()
    run.advance({run.pending[0].id: boxed(3)})
    again.advance({again.pending[0].id: boxed(3)})
    assert again.result == run.result and run.result.status == "ok"


def test_a_run_that_reached_a_limit_is_rebuilt():
    run = finished(HEAD + "a = AgentNode('A', 'x')\nwhile True: a(Context())", limits=mas.Limits(agent_calls=3))
    assert (run.result.reason, run.result.calls) == ("agent_calls", 3)
    assert mas.replay(mas.record(run)).result == run.result


def tampered(change):
    recorded = mas.record(finished())
    change(recorded)
    return recorded


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["calls"][0]["reply"].update(text="another"),
        lambda r: r["calls"].pop(),
        lambda r: r.update(source=r["source"].replace("'x'", "'z'")),
        lambda r: r.update(question="another"),
        lambda r: r["result"].update(content="42"),
        lambda r: r["result"].update(fuel=1),
        lambda r: r.update(seed=1),
        lambda r: r.update(digest="0" * 64),
        lambda r: r.pop("digest"),
        lambda r: r.pop("prompts"),
    ],
)
def test_a_changed_record_is_refused(change):
    with pytest.raises(ValueError, match="record"):
        mas.replay(tampered(change))


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["calls"][0]["reply"].update(text="another"),
        lambda r: r["calls"].pop(),
        lambda r: r["calls"].append({**r["calls"][0], "id": "more"}),
        lambda r: r["result"].update(content="42"),
        lambda r: r["result"].update(fuel=r["result"]["fuel"] + 1),
        lambda r: r["limits"].update(fuel=10),
        lambda r: r["limits"].update(nothing=10),
        lambda r: r["prompts"].update(first_agent="Answer: {question}"),
        lambda r: r.update(pending=["x"]),
    ],
)
def test_a_record_that_was_signed_again_still_has_to_fit_its_script(change):
    recorded = tampered(change)
    body = {key: value for key, value in recorded.items() if key != "digest"}
    with pytest.raises(ValueError, match="record"):
        mas.replay({**body, "digest": digest(body)})


@pytest.mark.parametrize("value", [{}, {"digest": 5}, {"digest": None, "calls": 5}])
def test_what_is_no_record_is_refused_in_a_sentence(value):
    with pytest.raises(ValueError, match="record"):
        mas.replay(copy.deepcopy(value))
