"""Show whole episodes as trees: question, design, calls in order, graded answer.

The first policy stands beside the last. Texts are shortened to a common budget, so that the page stays small whatever a
model wrote.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from mxjax.report.drawing import draw_design
from mxjax.report.html import shorten, tag
from mxjax.report.number_format import number
from mxjax.report.run_files import Run, mapping
from mxjax.rewards import extract_answer

PAIRS = 2
MOST_CALLS = 24
OPEN_LINES = 20
TEXT_BUDGET = 240_000
LONGEST_TEXT, SHORTEST_TEXT = 6000, 300

Tree = dict[str, Any]


def episode_section(run: Run) -> Markup:
    """Episodes before and after training, or a sentence without any."""
    if run.before is None and run.after is None:
        return tag("p", "No evaluation of designs has saved its episodes yet.", class_="absent")
    pairs = choose_pairs(run.before[1] if run.before else (), run.after[1] if run.after else ())
    limit = text_limit([tree for pair in pairs for tree in pair if tree])
    parts = []
    if not pairs:
        parts.append(tag("p", "The saved evaluations have no question in common.", class_="absent"))
    for before, after in pairs:
        question = mapping((before or after or {}).get("question"))
        columns = [_episode("Before", run.before, before, limit), _episode("After", run.after, after, limit)]
        heading = tag("h3", "Question ", tag("small", question.get("source") or question.get("id")))
        parts.append(
            tag(
                "article",
                heading,
                tag("pre", shorten(str(question.get("text", "")), limit), class_="question"),
                tag("p", "gold answer ", tag("b", _gold(question))),
                tag("div", *columns, class_="pair"),
            )
        )
    return tag("div", *parts)


def choose_pairs(before: Sequence[Tree], after: Sequence[Tree]) -> list[tuple[Tree | None, Tree | None]]:
    """Two questions to show, preferably answered differently before and after.

    If one of the two evaluations is missing, the first two of the other.
    """
    if not before or not after:
        return [*((tree, None) for tree in before[:PAIRS]), *((None, tree) for tree in after[:PAIRS])]
    later = {mapping(tree.get("question")).get("id"): tree for tree in after}
    pairs = [(tree, later.get(mapping(tree.get("question")).get("id"))) for tree in before]
    both = [(first, last) for first, last in pairs if last is not None]
    same = lambda pair: _outcome(pair[0]).get("correct") == _outcome(pair[1]).get("correct")
    return [*sorted(both, key=same)[:PAIRS]]


def text_limit(trees: Sequence[Tree]) -> int:
    """Characters that each text may have within the budget of all trees."""
    texts = sum(2 * min(MOST_CALLS, len(_outcome(tree).get("calls") or ())) + 4 for tree in trees)
    return max(SHORTEST_TEXT, min(LONGEST_TEXT, TEXT_BUDGET // max(1, texts)))


def _design(tree: Tree) -> dict[str, Any]:
    return mapping(next(iter(tree.get("designs") or ()), None))


def _outcome(tree: Tree) -> dict[str, Any]:
    """The execution that is shown: the first of the first design."""
    return mapping(next(iter(_design(tree).get("executions") or ()), None))


def _gold(question: dict[str, Any]) -> str:
    return "in hidden tests" if question.get("tests") else str(question.get("gold"))


def _episode(when: str, evaluation: tuple | None, tree: Tree | None, limit: int) -> Markup:
    """One episode as a tree."""
    if tree is None:
        return tag("section", tag("h4", when), tag("p", "Not there yet.", class_="absent"), class_="episode")
    design, outcome = _design(tree), _outcome(tree)
    source, calls = str(design.get("source") or ""), outcome.get("calls") or []
    listed = [tag("li", _call(mapping(call), limit)) for call in calls[:MOST_CALLS]]
    if len(calls) > MOST_CALLS:
        listed.append(tag("li", f"{len(calls) - MOST_CALLS} more calls are not shown.", class_="absent"))
    tree_parts = [
        tag("li", tag("h5", "Design"), _drawing(design, source), _script(source, limit), _asked(design, limit)),
        tag(
            "li",
            tag("h5", f"Calls ({len(calls)})"),
            tag("ol", *listed, class_="calls") if calls else tag("p", "No agent was called.", class_="absent"),
        ),
        tag("li", tag("h5", "Answer"), _answer(outcome, limit)),
    ]
    step = f"at step {evaluation[0]}" if evaluation else ""
    heading = tag("h4", f"{when} ", tag("small", step), " ", _badge(outcome))
    others = len(tree.get("designs") or ()) - 1
    note = tag("p", f"The first of {others + 1} designs for this question.", class_="absent") if others > 0 else None
    return tag("section", heading, note, tag("ul", *tree_parts, class_="tree"), class_="episode")


def _drawing(design: dict[str, Any], source: str) -> Markup:
    if design.get("error"):
        return tag("p", f"This design cannot run: {design['error']}", class_="absent")
    return draw_design(source)


def _script(source: str, limit: int) -> Markup:
    """The script, open when it is short."""
    short = source.count("\n") < OPEN_LINES and len(source) < 80 * OPEN_LINES
    return tag("details", tag("summary", "the script"), tag("pre", shorten(source, limit)), open="" if short else None)


def _badge(outcome: dict[str, Any]) -> Markup:
    right = (outcome.get("correct") or 0) >= 1
    verdict = "✓ correct" if right else "✗ wrong" if outcome.get("status") == "ok" else "✗ failed"
    text = f"{verdict}, reward {number(outcome.get('reward'))}"
    return tag("span", text, class_="badge good" if right else "badge bad")


def _asked(design: dict[str, Any], limit: int) -> Markup | None:
    """The designer's own call, prompt and reply."""
    call = mapping(design.get("call"))
    if not call:
        return None
    return tag("details", tag("summary", f"the designer's call ({call.get('tokens')} tokens)"), *_texts(call, limit))


def _call(call: dict[str, Any], limit: int) -> Markup:
    """One call: which node, and its prompt and reply when opened."""
    reply, path = str(call.get("reply") or ""), str(call.get("call_id") or "?")
    cut = ", cut by its limit" if call.get("finish_reason") == "length" else ""
    summary = tag(
        "summary",
        tag("b", node_name(path)),
        " ",
        tag("small", f"{path}, {call.get('tokens')} tokens{cut}"),
        tag("span", shorten(" ".join(reply.split()), 90).split("\n")[0] or "(nothing)", class_="peek"),
    )
    return tag("details", summary, *_texts(call, limit))


def _texts(call: dict[str, Any], limit: int) -> list[Markup]:
    texts = {name: shorten(str(call.get(name) or ""), limit) for name in ("prompt", "reply")}
    return [tag("div", tag("small", name), tag("pre", text), class_=name) for name, text in texts.items()]


def node_name(call_id: str) -> str:
    """The node in a call's id.

    For "workflow/reflection/a.2#1" it is node a's second time, turn 1.
    """
    return re.sub(r"(\.\d+)?#\d+$", "", call_id).rsplit("/", 1)[-1] or call_id


def _answer(outcome: dict[str, Any], limit: int) -> Markup:
    status, message = str(outcome.get("status") or "unknown"), str(outcome.get("answer") or "")
    if status != "ok" and not message:
        return tag("p", f"None: {status.replace('_', ' ')}. {outcome.get('reason') or ''}")
    answer = extract_answer(message)
    graded = tag(
        "p",
        tag("b", "none found" if answer is None else shorten(answer, 200)),
        ": correct ",
        tag("b", number(outcome.get("correct"))),
        ", format ",
        tag("b", number(outcome.get("format"))),
        ", reward ",
        tag("b", number(outcome.get("reward"))),
        f", graded by {outcome['reason']}" if outcome.get("reason") else "",
    )
    return tag("div", graded, _details("the returned message", message, limit))


def whole_episode(tree: Tree) -> Markup:
    """Every design and execution of a question, to open one by one."""
    question = mapping(tree.get("question"))
    designs = [mapping(design) for design in tree.get("designs") or ()]
    outcomes = [mapping(outcome) for design in designs for outcome in design.get("executions") or ()]
    right = sum((outcome.get("correct") or 0) >= 1 for outcome in outcomes)
    head = tag(
        "summary",
        tag("b", question.get("id")),
        f" {right} of {len(outcomes)} right ",
        tag("span", shorten(" ".join(str(question.get("text", "")).split()), 90).split("\n")[0], class_="peek"),
    )
    limit = sys.maxsize
    parts: list[Markup | None] = [
        tag("pre", str(question.get("text", "")), class_="question"),
        tag("p", "gold ", tag("b", _gold(question))),
    ]
    for design in designs:
        source = str(design.get("source") or "")
        listed = [_outcome_item(mapping(outcome), limit) for outcome in design.get("executions") or ()]
        parts += [_drawing(design, source), _script(source, limit), _asked(design, limit), tag("ul", *listed)]
    return tag("details", head, *parts, class_="episode")


def _outcome_item(outcome: dict[str, Any], limit: int) -> Markup:
    calls = [tag("li", _call(mapping(call), limit)) for call in outcome.get("calls") or ()]
    return tag("li", _badge(outcome), tag("ol", *calls, class_="calls") if calls else None, _answer(outcome, limit))


def _details(title: str, text: str, limit: int) -> Markup:
    return tag("details", tag("summary", title), tag("pre", shorten(text, limit)))
