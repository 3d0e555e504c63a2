"""A scripted teacher for the cold start on arithmetic.

Varied designs, and worked solutions of several qualities. It shows ways of behaving, not which of them pays: some
agents answer at once, some step by step, some check; some designs ask one agent, some vote, reflect, debate or pass
work on, some have a critic with Python. Only a second try, after a critique, always takes the most care. Finding out
what else pays is left to reinforcement learning. Every prompt is one that the interpreter really sends, since the
teacher answers the calls of its own running designs, and an episode is kept only when its final answer is right.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from mxjax import mas
from mxjax.data.arithmetic import evaluate
from mxjax.errors import UserError
from mxjax.rewards import extract_answer, grade_math
from mxjax.rollout import Question

Conversation = Sequence[Mapping[str, str]]

AT_ONCE, STEPS, CHECKED, COLUMNS = "at once", "steps", "checked", "columns"

# What agents are told -> how the teacher then behaves at a first try, with weights.
AGENT_TEXTS: Mapping[str, Mapping[str, float]] = {
    "Answer at once.": {AT_ONCE: 1.0},
    "Solve the task.": {AT_ONCE: 0.5, STEPS: 0.3, COLUMNS: 0.2},
    "Work step by step.": {STEPS: 0.7, COLUMNS: 0.2, AT_ONCE: 0.1},
    "Work step by step, then check.": {CHECKED: 0.7, STEPS: 0.3},
    "Work in columns.": {COLUMNS: 0.8, STEPS: 0.2},
}
PATTERNS = {"single": 3, "vote": 2, "reflection": 2, "debate": 1, "pipeline": 2}
SLIP = 0.3  # how often an answer at once is wrong, so that critics have something to find

HEAD = (
    "<code>\n```python\nfrom workflow import Workflow, AgentNode, EnsembleNode, ReflectionNode, DebateNode\n"
    "workflow = Workflow()\nworkflow.add_node("
)
NEXT = ")\nworkflow.add_node("
TAIL = ")\nworkflow.run(question)\n```\n</code>"
ANSWER = "</delivery>\nFINAL ANSWER: \\boxed{"

# A critic that has Python, and the beginning of a design with one
CHECKER = "Check with Python."
TOOL_HEAD = (
    "<code>\n```python\nfrom workflow import Workflow, AgentNode, ReflectionNode, ToolRegistry\n"
    'tools = ToolRegistry()\ntools.register("python_execute", None, "Runs Python.", {})\n'
    "workflow = Workflow()\nworkflow.add_node("
)
CRITIC = f', num_iterations=2, critic_agent=AgentNode("critic", "{CHECKER}", tool_registry=tools)'

# Strings that a tokenizer trained on this teacher keeps as one token each.
ATOMS = (
    *(HEAD, NEXT, TAIL, "<delivery>", ANSWER, 'AgentNode("', 'EnsembleNode("vote", [', '], "majority_vote"'),
    *('ReflectionNode("reflection", ', ", num_iterations=1", 'DebateNode("debate", [', "], num_rounds=1"),
    *("Problem type: ", "\nAnalysis: ", "\nPattern: ", "\nAgents: ", "\nFlow: ", "VERDICT: CORRECT"),
    *("VERDICT: INCORRECT", "\nReview:\n", "\nCritique:\n", "\nTry again.", "\nJudge:\n"),
    *(TOOL_HEAD, CRITIC, CHECKER, "```python\nprint(", ")\n```", "True", "False"),
    *("\nBefore you:\n", "\nDeliver, then answer.", "Design a workflow.", *AGENT_TEXTS),
)


def teach(
    questions: Sequence[Question],
    prompts: tuple[str, str],
    seed: int = 0,
    designer_share: float = 1.0,
    tool_share: float = 0.0,
    tools: Mapping[str, mas.Tool] | None = None,
) -> list[Conversation]:
    """Conversations of both roles for arithmetic questions.

    `prompts` are the designer's and the executor's sets. Each ends with the assistant turn to learn. Designs are quick
    to learn: a `designer_share` of them is enough. For a `tool_share` of the questions the design is a reflection whose
    critic checks the answer with the tool `python_execute` of `tools`: all that comes back from Python is whether the
    answer is right. Raises ValueError for a question without an arithmetic expression.
    """
    designer, executor = map(mas.load_prompts, prompts)
    conversations: list[Conversation] = []
    for question in questions:
        if question.gold is None:
            raise UserError(f"question {question.id} has no gold answer, without which the teacher knows no right one")
        rng = random.Random(f"{seed}:{question.id}")
        with_tool = tool_share > 0 and random.Random(f"{seed}:{question.id}:tool").random() < tool_share
        reply = design(question, rng, with_tool)
        calls: list[tuple[Sequence[Mapping[str, str]], str]] = []

        def chat(messages, question=question, rng=rng, calls=calls):
            answer, right = answer_call(messages, expression_of(question.text), executor, rng)
            if any(message["role"] == "assistant" for message in messages):
                calls.pop()  # this call continues that conversation
            if right:
                calls.append((messages, answer))
            return answer

        result = mas.run(mas.parse_design(reply), question.text, chat, question.task_type, tools, prompts=executor)
        if result.status == "ok" and grade_math(question.gold, result.content):
            if rng.random() < designer_share:
                prompt = mas.designer_messages(question.text, question.task_type, designer)
                conversations.append([*prompt, {"role": "assistant", "content": reply}])
            conversations += [[*messages, {"role": "assistant", "content": text}] for messages, text in calls]
    return conversations


def expression_of(text: str) -> str:
    """The arithmetic expression in a question's text.

    Raises ValueError if there is none.
    """
    expression = max(re.findall(r"[\d(][\d\s()+*/-]*", text), key=len, default="").strip()
    if not re.search(r"\d", expression) or re.search(r"[()/]", expression):
        raise UserError(f"the teacher finds no sum of whole numbers in {text[:80]!r}; use another sft.examples")
    return expression


def design(question: Question, rng: random.Random, with_tool: bool = False) -> str:
    """A designer's reply: five labelled parts, then the script."""
    terms = len(re.findall(r"\d+", expression_of(question.text)))
    pattern = "reflection" if with_tool else rng.choices(list(PATTERNS), list(PATTERNS.values()))[0]
    told = rng.choice(list(AGENT_TEXTS))
    agent = lambda name, text=told: f'AgentNode("{name}", "{text}")'
    if pattern == "single":
        agents, flow, nodes = "1", "answer", agent("a")
    elif pattern == "vote":
        members = ", ".join(agent(name) for name in "abc")
        agents, flow, nodes = "3", "vote", f'EnsembleNode("vote", [{members}], "majority_vote")'
    elif pattern == "reflection":
        agents, flow, critic = ("2", "check", CRITIC) if with_tool else ("1", "review", ", num_iterations=1")
        nodes = f'ReflectionNode("reflection", {agent("a")}{critic})'
    elif pattern == "debate":
        agents, flow, nodes = "2", "judge", f'DebateNode("debate", [{agent("a")}, {agent("b")}], num_rounds=1)'
    else:
        agents, flow, nodes = "2", "pass on", agent("a") + NEXT + agent("b", rng.choice(list(AGENT_TEXTS)))
    return (
        f"Problem type: arithmetic\nAnalysis: {terms} terms\nPattern: {pattern}\nAgents: {agents}\nFlow: {flow}\n"
        f"{TOOL_HEAD if with_tool else HEAD}{nodes}{TAIL}"
    )


def answer_call(messages, expression: str, prompts: mas.Prompts, rng: random.Random) -> tuple[str, bool]:
    """The teacher's reply to one call, and whether it is right."""
    request = messages[-1]["content"]
    truth = str(evaluate(expression))
    criticised = filled_field(prompts.reflection, "response", request)
    checked = filled_field(prompts.python_result, "output", request)
    if checked is not None:
        return f"VERDICT: {'CORRECT' if checked == 'True' else 'INCORRECT'}", True
    if criticised is not None and messages[0]["content"].startswith(CHECKER):
        return f"```python\nprint({expression} == {extract_answer(criticised)})\n```", True
    if criticised is not None:
        right = extract_answer(criticised) == truth
        return f"{rng.choice((worked, in_columns))(expression)}\nVERDICT: {'CORRECT' if right else 'INCORRECT'}", True
    told = next((text for text in AGENT_TEXTS if messages[0]["content"].startswith(text)), "Work step by step.")
    ways = AGENT_TEXTS[told]
    way = rng.choices(list(ways), list(ways.values()))[0]
    if filled_field(prompts.refinement, "reflection", request) is not None:
        way = COLUMNS  # a second try takes the most care
    answer = truth
    if way == AT_ONCE and rng.random() < SLIP:
        answer = str(int(truth) + rng.choice((-10, -2, -1, 1, 2, 10)))
    write = {
        AT_ONCE: lambda _: answer,
        STEPS: worked,
        CHECKED: lambda expression: f"{worked(expression)}; {undone(expression)}",
        COLUMNS: in_columns,
    }[way]
    return f"<delivery>{write(expression)}{ANSWER}{answer}}}", answer == truth


def filled_field(template: str, field: str, text: str) -> str | None:
    """What stands at {field} in a text made from the template.

    Returns None when the text was not made from it.
    """
    pieces = re.split(r"\{(\w+)\}", template)
    pattern = "".join(
        re.escape(piece) if n % 2 == 0 else f"(?P<{piece}>.*)" if piece == field else ".*"
        for n, piece in enumerate(pieces)
    )
    match = re.fullmatch(pattern, text, re.DOTALL)
    return match[field] if match else None


def _steps(expression: str) -> list[tuple[int, str, int, int]]:
    """(a, op, b, a op b) for each step.

    Products first, then left to right.
    """
    tokens: list = [int(t) if t.isdigit() else t for t in re.findall(r"\d+|[+*-]", expression)]
    steps = []
    while len(tokens) > 1:
        at = tokens.index("*") if "*" in tokens else 1
        a, op, b = tokens[at - 1 : at + 2]
        value = {"+": a + b, "-": a - b, "*": a * b}[op]
        steps.append((a, op, b, value))
        tokens[at - 1 : at + 2] = [value]
    return steps


def worked(expression: str) -> str:
    """The expression step by step: "12+7=19, 19-3=16"."""
    return ", ".join(f"{a}{op}{b}={value}" for a, op, b, value in _steps(expression)) or expression


def undone(expression: str) -> str:
    """The sums undone from the answer back, as a check: "16+3=19, 19-7=12"."""
    inverse = {"+": "-", "-": "+"}
    steps = [step for step in reversed(_steps(expression)) if step[1] in inverse]
    return ", ".join(f"{value}{inverse[op]}{b}={a}" for a, op, b, value in steps) or worked(expression)


def in_columns(expression: str) -> str:
    """The expression step by step, each sum or difference digit by digit.

    "53-8: 13-8=5, 5-0-1=4: 45". A result below zero is worked out without its sign: "19-68" is "-(68-19): 18-9=9,
    6-1-1=4: -49".
    """
    steps = (
        f"{a}{op}{b}={value}" if op == "*" else _columns(a, op, b, value) for a, op, b, value in _steps(expression)
    )
    return "; ".join(steps) or expression


def _columns(a: int, sign: str, b: int, value: int) -> str:
    """a sign b = value for b >= 0.

    The larger number before the smaller, the units, then everything above them.
    """
    large, small = sorted((abs(a), b), reverse=True)
    op = "+" if (a < 0) == (sign == "-") else "-"
    (high, unit), (more, other) = divmod(large, 10), divmod(small, 10)
    carry = unit + other > 9 if op == "+" else unit < other
    if op == "-" and carry:
        unit += 10
    units = f"{unit}{op}{other}={unit + other if op == '+' else unit - other}"
    rest = high + more + carry if op == "+" else high - more - carry
    above = f"{high}{op}{more}{f'{op}1' if carry else ''}={rest}"
    whole = f"-({large}{op}{small})" if value < 0 else f"{large}{op}{small}"
    return f"{whole}: {units}, {above}: {value}"
