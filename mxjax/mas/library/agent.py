"""`AgentNode`: one agent, its prompt, its tool loop."""

from __future__ import annotations

import functools

from mxjax.mas.library import texts, tools
from mxjax.mas.library.core import (
    AGENT_RESPONSE,
    WORKFLOW_NODE,
    agent_request,
    content_text,
    error_message,
    init_node,
    is_message,
    message,
    messages_of,
    native_class,
    node_name,
    question_message,
    tool_request,
)
from mxjax.mas.library.groups import free_call
from mxjax.mas.prompts import fill
from mxjax.script.values import Instance

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "max_tokens")


def init_agent(
    m,
    self,
    name="agent",
    system_prompt="",
    tool_registry=None,
    max_turns=10,
    enable_conversation_logging=True,
    ai_client=None,
    **config,
):
    init_node(m, self, name, **config)
    self.fields["system_prompt"] = system_prompt
    self.fields["tool_registry"] = tool_registry
    self.fields["max_turns"] = max_turns
    if enable_conversation_logging is not True:
        self.fields["enable_conversation_logging"] = enable_conversation_logging


def max_turns(m, node: Instance) -> int:
    """How often an agent may use its tools."""
    turns = node.fields.get("max_turns")
    return max(1, min(turns, m.limits.agent_turns)) if type(turns) is int else 1


def _sampling(node: Instance) -> dict:
    config = node.fields.get("config")
    if not config or not isinstance(config, dict):
        return {}
    return {name: config[name] for name in SAMPLING if type(config.get(name)) in (int, float)}


def process_agent(m, self, context):
    """Answer a context: one conversation with the model, with tools in between."""
    registry = self.fields.get("tool_registry")
    usable = tools.usable(m, registry)
    has_python = tools.python_tool(m, registry)
    messages = yield from first_messages(m, self, context, usable, has_python)
    sampling = _sampling(self)
    name = node_name(self)
    turns = max_turns(m, self)
    parent = None
    tokens = 0
    for turn in range(1, turns + 2):
        yield from free_call(m)
        request = agent_request(m, name, messages, turn, sampling, parent)
        parent = request.call.id
        reply = yield request
        m.allocate(len(reply.text))
        if reply.error:
            return error_message(m, reply.error)
        m.meter.reply_tokens += reply.tokens
        tokens += reply.tokens
        if tokens >= m.limits.agent_tokens:
            turns = min(turns, turn)
        answer = None
        if usable and turn <= turns:
            answer = yield from tool_answer(m, usable, has_python, reply.text, turn)
        if answer is None:
            return message(m, reply.text, AGENT_RESPONSE, {"turns": turn})
        if turn == turns:
            answer += m.host.prompts.final_demand
        messages = [*messages, {"role": "assistant", "content": reply.text}, {"role": "user", "content": answer}]
    raise AssertionError("the last turn always returns")


def tool_answer(m, usable: dict, has_python: bool, reply: str, turn: int):
    """The message to an agent after a reply that calls a tool.

    None when the reply is final.
    """
    prompts = m.host.prompts
    code = texts.python_block(reply) if has_python else None
    if code is not None:
        output = yield tool_request(m, tools.PYTHON, {"code": code}, turn)
        m.allocate(len(output.text))
        return fill(prompts.python_result, output=output.error or output.text)
    called = texts.tool_call(reply)
    if called is None:
        return None
    if isinstance(called, str):
        return fill(prompts.bad_tool_call, error=called)
    name, arguments = called
    return (yield from tools.run_tool(m, usable, name, arguments, turn))


def first_messages(m, node: Instance, context, usable: dict, has_python: bool):
    """System and user message of a new conversation."""
    prompts, task_type = m.host.prompts, m.host.task_type
    system = node.fields.get("system_prompt")
    system = system if type(system) is str else ""
    if has_python:
        system += prompts.python_tool
    others = {name: tool for name, tool in usable.items() if name != tools.PYTHON}
    if others:
        system += fill(prompts.tools, tools=(yield from tools.describe_tools(m, others)))
    delivery = {"code": prompts.delivery_code, "math": prompts.delivery_math}.get(task_type, prompts.delivery_text)
    system = _joined(system, delivery) if len(system) < 4000 else system + delivery
    user = yield from user_text(m, context)
    made = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return [item for item in made if item["content"]]


def user_text(m, context):
    """The question and, for later agents, what the agents before wrote."""
    prompts = m.host.prompts
    asked = question_message(context)
    question = (yield from content_text(m, asked)) if asked is not None else ""
    entries = []
    for item in messages_of(context):
        if is_message(item) and item.fields.get("message_type") is AGENT_RESPONSE and item is not asked:
            reply = texts.entry((yield from content_text(m, item)), prompts.omitted)
            sender = item.fields.get("sender")
            entries.append(fill(prompts.agent_entry, name=sender if type(sender) is str else "Agent", reply=reply))
    if not entries:
        return fill(prompts.first_agent, question=question)
    m.need_string(sum(map(len, entries)) + len(question), all(map(str.isascii, (*entries, question))))
    return fill(prompts.later_agent, question=question, entries="".join(entries))


@functools.lru_cache(maxsize=4096)
def _joined(system: str, delivery: str) -> str:
    """A system message, cached because executions of a design repeat it often."""
    return system + delivery


AGENT = native_class("AgentNode", WORKFLOW_NODE, {"__init__": init_agent, "process": process_agent})
AGENT.members["enable_conversation_logging"] = True
