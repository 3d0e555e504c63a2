"""`mxjax solve`: answers of a checkpoint, with design and calls.

Why every call: an answer of a designed system is only as good as its parts, and people debug from transcripts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from etils import epath

from mxjax.cli.arguments import add_checkpoint_arguments, serving_options, step_of
from mxjax.data.identity import text_id
from mxjax.data.provenance import likeness_of, unlike
from mxjax.errors import UserError, file_errors
from mxjax.grading import open_grading
from mxjax.mas import Limits
from mxjax.rewards import extract_answer, make_reward
from mxjax.rollout import Question, QuestionTree, collect
from mxjax.serving import Served, checkpoint_config, serve
from mxjax.terminal import say, shown_in_line

AT_ONCE = 8  # questions that are answered side by side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    add = parser.add_argument
    add("question", nargs="*")
    add("--questions", default="", help="a file of more: one a line, or .jsonl with question; - is standard input")
    add("--json", action="store_true", help="a line of JSON for each: answer, status, design, calls, tokens")
    add_checkpoint_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the design, every call with its reply, and the answer.

    Returns 1 when a question has none.
    """
    questions = [Question(text_id("asked", text), text) for text in _texts(args)]
    step = step_of(args.checkpoint, args.step)
    served = serve(
        args.checkpoint, checkpoint_config(args.checkpoint), step, **serving_options(args), most_slots=AT_ONCE
    )
    config, roles = served.config, served.roles
    trained = likeness_of(args.checkpoint)
    ungraded = make_reward(config.reward.answer_from, verify=lambda question, answer: 0.0)
    limits, answered = Limits(**config.rollout.limits), True
    if not args.json:
        say(f"model: {shown_in_line(_model(args, served))}\n")
    with open_grading(config, questions) as grading:
        for start in range(0, len(questions), AT_ONCE):
            trees = collect(
                questions[start : start + AT_ONCE],
                roles,
                ungraded,
                grading.tools,
                limits,
                designs=1,
                executions=1,
                seed=args.seed,
            )
            for tree in trees:
                found = solution(tree, roles["executor"].engine.tokenizer.decode)
                strange = unlike(found["question"], trained) if trained else None
                found = {"model": str(args.checkpoint), "step": served.step, "unlike": strange, **found}
                answered = answered and found["answer"] is not None
                if args.json:
                    say(json.dumps(found))
                else:
                    _show(found, len(questions) > 1)
    return 0 if answered else 1


def solution(tree: QuestionTree, decode) -> dict[str, Any]:
    """A question's one design and one execution, as JSON.

    `status` is "ok", "invalid_design", or that of a design that did not finish, and `reason` says why; `answer` is None
    unless it is "ok". `tokens` counts those of all calls, the designer's included.
    """
    (design,) = tree.designs
    (execution,) = design.executions
    segments = [*([design.segment] if design.segment else []), *execution.segments]
    content = execution.result.content if execution.result is not None and execution.result.status == "ok" else None
    calls = [
        {
            "id": segment.call_id,
            "parent": segment.parent,
            "reply": decode(segment.token_ids),
            "tokens": len(segment.token_ids),
            "finish_reason": segment.finish_reason,
        }
        for segment in execution.segments
    ]
    return {
        "question": tree.question.text,
        "status": "invalid_design" if design.error or execution.result is None else execution.result.status,
        "reason": design.error or (execution.result.reason if execution.result else execution.reason),
        "answer": None if content is None else extract_answer(content) or content,
        "design": design.source,
        "calls": calls,
        "tokens": {
            "prompt": sum(len(segment.prompt_token_ids) for segment in segments),
            "response": sum(len(segment.token_ids) for segment in segments),
        },
    }


def _show(answer: dict[str, Any], several: bool) -> None:
    if several:
        say(f"question: {answer['question']}\n")
    if answer["unlike"]:
        say(f"note: unlike the questions that this model was trained on: {answer['unlike']}\n")
    say(f"{answer['design'].strip() or '(no design)'}\n")
    for call in answer["calls"]:
        say(f"[{shown_in_line(call['id'])}]\n{call['reply'].strip()}\n")
    if answer["status"] == "invalid_design":
        say(f"The design cannot run: {answer['reason']}")
    elif answer["status"] != "ok":
        say(f"The design did not finish: {answer['reason']}")
    else:
        say(f"answer: {answer['answer']}")
    if several:
        say()


def _model(args: argparse.Namespace, served: Served) -> str:
    if served.step is None:
        return str(args.checkpoint)
    return f"{args.checkpoint}, step {served.step}{', chosen in validation' if args.step == 'chosen' else ''}"


def _texts(args: argparse.Namespace) -> list[str]:
    """The questions of the command line and of `--questions`, in this order."""
    texts = [*args.question, *(_read(args.questions) if args.questions else ())]
    if not texts or not all(text.strip() for text in texts):
        raise UserError("needs a question, for example mxjax solve '12 + 7 - 3' --checkpoint runs/quickstart")
    return texts


def _read(path: str) -> Iterator[str]:
    """The questions of a file, or of standard input ("-").

    One a line, or in .jsonl each line's `question`.
    """
    with file_errors("read", path):
        text = sys.stdin.read() if path == "-" else epath.Path(path).read_text()
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not line.strip():
            continue
        if not path.endswith(".jsonl"):
            yield line
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("question"), str):
            raise UserError(f"line {number} of {path} is no object with a question")
        yield row["question"]
