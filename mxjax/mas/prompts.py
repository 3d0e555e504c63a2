"""Every string that the harness adds to a prompt.

They are in one record that a file can override.

A checkpoint must be served with exactly the strings that it was trained on, so none is written anywhere else; only
the markers that replies are parsed for (`<delivery>`, `FINAL ANSWER: \\boxed{...}`, `<solution>`, `<code>`) are
fixed.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from typing import ClassVar

from mxjax.errors import UserError, file_errors

_FIELD = re.compile(r"\{([a-z_]+)\}")


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Texts with `{field}` places.

    What each text may refer to is named in its comment.

    Texts are put together literally: line breaks between parts belong to the texts themselves.
    """

    holds: ClassVar[tuple[str, ...]] = ()

    # The designer: {question}, {task_type}
    designer_system: str = "You are an expert Python developer who builds multi-agent workflow systems."
    designer_user: str = "Design a multi-agent system for this question: {question}"
    designer_code: str = ""  # follows the system prompt where the question asks for a program

    # Follows the system prompt that the designer wrote for an agent, by task type
    delivery_math: str = (
        "\n\nWhen you have solved it, write two things:\n"
        "1. The key reasoning that the next agent should know, inside <delivery>...</delivery>.\n"
        "2. The answer, as: FINAL ANSWER: \\boxed{your answer}"
    )
    delivery_code: str = (
        "\n\nWhen you have solved it, write two things:\n"
        "1. The key reasoning that the next agent should know, inside <delivery>...</delivery>.\n"
        "2. The complete program, inside <solution>...</solution>, with nothing else in it."
    )
    delivery_text: str = (
        "\n\nWhen you have solved it, write two things:\n"
        "1. The key reasoning that the next agent should know, inside <delivery>...</delivery>.\n"
        "2. The answer alone on the last line, as: FINAL ANSWER: your answer"
    )
    # Follows the system prompt of an agent with the python tool; of one with other tools: {tools}
    python_tool: str = "\n\nA ```python block that you write is run, and its output is given to you."
    tools: str = (
        "\n\nYou can call these tools:\n{tools}\n"
        'To call one, write <tool_call>{"name": "...", "arguments": {...}}</tool_call>.'
    )

    # What an agent is asked: {question}; after other agents also {entries}, each made of {name} and {reply}
    first_agent: str = "{question}"
    later_agent: str = (
        "Original question:\n{question}\n\nWork of the agents before you:\n\n{entries}"
        "Use the question and this work to write your own solution."
    )
    agent_entry: str = "[{name}]:\n{reply}\n\n"
    omitted: str = "\n...(reasoning omitted)...\n"

    # The tool loop: {output}; {name}; {error}. The demand follows the last tool's result
    python_result: str = "Output of your code:\n{output}"
    tool_result: str = "Result of {name}:\n{output}"
    tool_failed: str = "{name} failed: {error}"
    bad_tool_call: str = (
        "That tool call could not be read as JSON ({error}). Write it again, or give your final answer."
    )
    unknown_tool: str = "There is no tool called {name}."
    final_demand: str = "\n\nNo more tools can be used. Give your final answer now."

    # An ensemble's judge: {question}, {solutions}, each made of {index}, {name} and {reply}
    consensus: str = (
        "Original question:\n{question}\n\nSolutions:\n\n{solutions}"
        "Check the reasoning of each solution. Choose the best one, or correct it, and give the final answer."
    )
    solution_entry: str = "--- Solution {index} ({name}) ---\n{reply}\n\n"

    # Reflection: {question}, {response}; refinement also {reflection}; with history also {history}, made of
    # {index}, {response}, {reflection}
    reflection: str = (
        "Original question:\n{question}\n\nResponse to review:\n{response}\n\n"
        "Check this response step by step. Name every error and what would correct it. "
        "End with one line: VERDICT: CORRECT or VERDICT: INCORRECT"
    )
    refinement: str = (
        "Original question:\n{question}\n\nYour previous response:\n{response}\n\nCritique:\n{reflection}\n\n"
        "Write an improved response that deals with every point of the critique."
    )
    refinement_with_history: str = (
        "Original question:\n{question}\n\nEarlier attempts:\n\n{history}Your latest response:\n{response}\n\n"
        "Latest critique:\n{reflection}\n\nWrite an improved response that deals with all of the feedback."
    )
    history_entry: str = "--- Attempt {index} ---\n{response}\nCritique: {reflection}\n\n"
    reflection_failed: str = "No critique could be made."

    # Debate: {question}, {history}, made of {index} and {entries}, made of {index}, {name}, {reply}; judge: {entries}
    debate: str = (
        "Original question:\n{question}\n\nThe discussion so far:\n\n{history}"
        "Criticise the other answers where they are wrong, and give your improved answer."
    )
    debate_round: str = "=== Round {index} ===\n{entries}"
    debate_entry: str = "Agent {index} ({name}):\n{reply}\n\n"
    debate_failed: str = "(no answer: {error})"
    debate_judge: str = (
        "Original question:\n{question}\n\nFinal answers of the debate:\n\n{entries}"
        "Choose the best answer, or write a better one, and give the final answer."
    )


_LIBRARY = """\
You write short Python scripts that build and run a multi-agent system for one question. Write five short labelled \
parts (problem type, analysis, pattern, agents, flow), then the script inside <code> as a ```python block.

The script imports from `workflow` and has a string `question`. The library:

AgentNode(name, system_prompt, tool_registry=None, max_turns=10): one agent; it is asked the question and shown the \
work of the agents before it.
EnsembleNode(name, agents, strategy, consensus_agent=None, weights=None): several agents answer independently; \
strategy is "majority_vote", "weighted_vote" or "consensus".
ReflectionNode(name, agent, num_iterations=2, critic_agent=None): answer, critique, refine.
DebateNode(name, debaters, judge=None, num_rounds=2): rounds of debate, then a judge.
RouterNode(name, routes, routing_func, default_route="default"): routing_func(context) names one of the routes.
Workflow(name): add_node(node); run(question) returns the last message.
ConditionalWorkflow(name): add_node(node, condition). LoopWorkflow(name, max_iterations): set_loop_condition(fn).
AgentGraph(name): add_node(name, node), add_edge(src, dst, condition=None), add_conditional_edges(src, routing_func), \
set_entry_point(name), set_finish_point(name), run(question). Several edges without a condition lead on side by side.
ToolRegistry(): register(name, func, description, parameters); registering "python_execute" gives an agent Python.
A node of your own: subclass WorkflowNode, define process(self, context), return \
Message(content, MessageType.AGENT_RESPONSE).

Example:
<code>
```python
from workflow import AgentNode, EnsembleNode, Workflow

solvers = [AgentNode(name=f"Solver{i}", system_prompt="Solve step by step.") for i in range(3)]
judge = AgentNode(name="Judge", system_prompt="Decide which solution is right.")
workflow = Workflow("vote")
workflow.add_node(EnsembleNode("Vote", solvers, "majority_vote", consensus_agent=judge))
result = workflow.run(question)
print(result.content)
```
</code>"""
_LIBRARY_FOR_CODE = """

The question asks for a program. Agents answer with the whole program in <solution>, and so must the last message of \
the workflow. Hidden tests judge it; the examples in the question can be run by agents that have Python. Later agents \
are shown the <delivery> of those before them, so a program that they are to test must stand there too.

Example for a program:
<code>
```python
from workflow import AgentNode, ConditionalWorkflow, ToolRegistry

tools = ToolRegistry()
tools.register("python_execute", None, "Runs Python.", {})
programmer = AgentNode("Programmer", "Write the program. Repeat it in your delivery, for the tester.")
tester = AgentNode(
    "Tester",
    "Run the program on every example of the question. With the output before you, say EXAMPLES PASS or EXAMPLES FAIL "
    "and why, with the program, in your delivery.",
    tool_registry=tools,
)
repairer = AgentNode("Repairer", "Correct the program by what the tester found.")


def failed(context):
    return "EXAMPLES FAIL" in context.get_latest_message().content


workflow = ConditionalWorkflow("program-test-repair")
workflow.add_node(programmer)
workflow.add_node(tester)
workflow.add_node(repairer, failed)
result = workflow.run(question)
print(result.content)
```
</code>"""
_DOCUMENTED = dataclasses.replace(
    Prompts(),
    designer_system=_LIBRARY,
    designer_code=_LIBRARY_FOR_CODE,
    designer_user="Task type: {task_type}\nDesign a multi-agent system for this question: {question}",
)
NAMED = {"short": Prompts(), "documented": _DOCUMENTED}


def load_prompts(name_or_path: str | os.PathLike) -> Prompts:
    """The prompts called "short" or "documented", or those of a file.

    A TOML file overrides fields of "short".

    Raises ValueError for a field that does not exist or a file that is not TOML, OSError for one that cannot be read.
    """
    name = os.fspath(name_or_path)
    if name in NAMED:
        return NAMED[name]
    with file_errors("read the prompts in", name), open(name, "rb") as file:
        content = file.read()
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{name} is not TOML ({error})") from error
    known = {field.name for field in dataclasses.fields(Prompts)}
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{name}: unknown prompt field {key!r}; the fields are {', '.join(sorted(known))}")
        if not isinstance(value, str):
            raise UserError(f"{name}: the prompt field {key!r} must be a string")
    return dataclasses.replace(Prompts(), **values)


def fill(template: str, **fields: str) -> str:
    """Fill in the `fields` of a template, in one pass.

    Every other brace is text.
    """
    return _FIELD.sub(lambda match: fields.get(match[1], match[0]), template)


def designer_messages(question_text: str, task_type: str, prompts: Prompts) -> list[dict[str, str]]:
    """What the designer is asked for one question."""
    fields = {"question": question_text, "task_type": task_type}
    system = prompts.designer_system + (prompts.designer_code if task_type == "code" else "")
    messages = [
        {"role": "system", "content": fill(system, **fields)},
        {"role": "user", "content": fill(prompts.designer_user, **fields)},
    ]
    return [message for message in messages if message["content"]]
