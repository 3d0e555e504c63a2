"""Nodes made of other nodes: ensemble, reflection, debate and router."""

from __future__ import annotations

from mxjax.mas.library import texts, tools
from mxjax.mas.library.agent import AGENT, max_turns
from mxjax.mas.library.core import (
    AGENT_RESPONSE,
    USER_INPUT,
    WORKFLOW_NODE,
    content_text,
    copy_context,
    error_message,
    error_text,
    get_latest_message,
    init_node,
    is_error,
    message,
    native_class,
    new_context,
    node_name,
    node_request,
    node_result,
    question_message,
)
from mxjax.mas.library.groups import gathered
from mxjax.mas.prompts import fill
from mxjax.program_extraction import extract_program
from mxjax.script import exceptions
from mxjax.script.frames import MEMBER_BYTES, Gather, Invoke
from mxjax.script.keys import hash_again
from mxjax.script.values import SCALARS, Instance, Native, Raised, brief, type_name

VOTE_EXAMPLES = 3  # public examples that programs are compared on


def _nodes(m, value, what: str) -> list[Instance]:
    """A list of nodes that a script gave."""
    if type(value) not in (list, tuple) or not value:
        raise ValueError(f"{what} must be a list of nodes that is not empty")
    m.need_items(len(value))
    for item in value:
        if type(item) is not Instance:
            raise TypeError(f"{what} must hold nodes, not {type_name(item)}")
    return list(value)


def _number(value, default: int) -> int:
    return max(0, value) if type(value) in (int, bool) else default


def calls_bound(m, node, depth: int = 0) -> int | None:
    """The most agent calls of a `node` that runs no script code.

    None where it is not certain to run none.

    A class of the script counts as the library's whose `process` and `__call__` it inherits: no other method runs.
    """
    m.charge(1)
    if depth > 8 or type(node) is not Instance or node.cls.lookup("__call__") is not WORKFLOW_NODE.members["__call__"]:
        return None
    process, fields = node.cls.lookup("process"), node.fields
    if process is AGENT.members["process"]:
        usable = tools.usable(m, fields.get("tool_registry"))
        if any(tools.is_script_tool(m, name, tool) for name, tool in usable.items()):
            return None
        return max_turns(m, node) + 1 if usable else 1
    if process is ENSEMBLE.members["process"]:
        judge = fields.get("consensus_agent")
        return _sum(m, [*_maybe(fields.get("agents")), *([] if judge is None else [judge])], depth)
    if process is REFLECTION.members["process"]:
        agent = calls_bound(m, fields.get("agent"), depth + 1)
        critic = agent if fields.get("critic_agent") is None else calls_bound(m, fields["critic_agent"], depth + 1)
        if agent is None or critic is None:
            return None
        return agent + _number(fields.get("num_iterations"), 2) * (agent + critic)
    if process is DEBATE.members["process"]:
        debaters = _maybe(fields.get("debaters"))
        judge = fields.get("judge") or (debaters[0] if debaters else None)
        rounds = _sum(m, debaters, depth)
        last = calls_bound(m, judge, depth + 1)
        return None if rounds is None or last is None else rounds * max(1, _number(fields.get("num_rounds"), 2)) + last
    return None


def _maybe(value) -> list:
    return list(value) if type(value) in (list, tuple) else [value]


def _sum(m, nodes: list, depth: int) -> int | None:
    bounds = [calls_bound(m, node, depth + 1) for node in nodes[:64]]
    known = [bound for bound in bounds if bound is not None]
    return None if len(known) < len(nodes) else sum(known)


def _short(m, reply: str) -> str:
    if m.host.task_type == "code":
        m.charge(len(reply) // 4)
    return texts.compact(reply, m.host.task_type, m.host.prompts.omitted)


def _asked(m, prompt: str, context) -> Instance:
    """A new context with the question `prompt` and a copied state."""
    m.need_string(len(prompt), prompt.isascii())
    state = context.fields.get("state")
    return new_context(m, [message(m, prompt, USER_INPUT)], state if isinstance(state, dict) else None)


def _question(m, context):
    asked = question_message(context)
    if asked is None:
        raise ValueError("the context holds no message to work on")
    return (yield from content_text(m, asked))


# Ensemble


def init_ensemble(
    m, self, name="ensemble", agents=(), strategy="majority_vote", consensus_agent=None, weights=None, **config
):
    init_node(m, self, name, **config)
    members = _nodes(m, agents, "agents")
    if strategy not in ("majority_vote", "weighted_vote", "consensus"):
        raise ValueError(f"Unknown ensemble strategy: {brief(strategy)}")
    if strategy == "consensus" and consensus_agent is None:
        raise ValueError("the strategy 'consensus' needs a consensus_agent")
    if weights is not None and (type(weights) not in (list, tuple) or len(weights) != len(members)):
        raise ValueError("there must be one weight for each agent")
    self.fields.update(agents=agents, strategy=strategy, consensus_agent=consensus_agent, weights=weights)


def process_ensemble(m, self, context):
    """Ask all members independently and combine their answers."""
    agents = _nodes(m, self.fields.get("agents"), "agents")
    m.allocate(MEMBER_BYTES * len(agents))
    jobs = [(agent, copy_context(m, context)) for agent in agents]
    made = yield from gathered(m, jobs, calls_bound)
    answers: dict[int, str] = {}
    for index, item in enumerate(made):
        if not is_error(item):
            answers[index] = yield from content_text(m, item)
    if not answers:
        return error_message(m, f"all members of {node_name(self)} failed: {error_text(made[0])}")
    strategy = self.fields.get("strategy")
    chosen = yield from _combine(m, self, strategy, agents, answers, context)
    metadata = {"strategy": strategy, "num_agents": len(agents), "all_responses": list(answers.values())}
    return message(m, chosen, AGENT_RESPONSE, metadata)


def _combine(m, self, strategy, agents: list, answers: dict[int, str], context):
    weights = self.fields.get("weights") if strategy == "weighted_vote" else None
    if m.host.task_type == "code":
        m.charge(sum(map(len, answers.values())) // 2)  # what finding their programs may take
    keys = {index: texts.vote_key(text, m.host.task_type) for index, text in answers.items()}
    keys = yield from _by_behaviour(m, keys, answers)
    winner, unanimous = _vote(answers, keys, weights)
    judge = self.fields.get("consensus_agent")
    if judge is None or strategy == "weighted_vote" or (strategy == "majority_vote" and unanimous):
        return answers[winner]
    prompts = m.host.prompts
    solutions = [
        fill(prompts.solution_entry, index=str(index + 1), name=node_name(agents[index]), reply=_short(m, text))
        for index, text in answers.items()
    ]
    question = yield from _question(m, context)
    prompt = fill(prompts.consensus, question=question, solutions="".join(solutions))
    verdict = node_result((yield node_request(judge, _asked(m, prompt, context))))
    return answers[winner] if is_error(verdict) else (yield from content_text(m, verdict))


def _by_behaviour(m, keys: dict[int, str | None], answers: dict[int, str]):
    """The keys of a vote, with programs keyed by behaviour.

    Different programs become what they do on the public examples.

    A program that fails on one of them keeps its text as the key. Needs the host tool `run_program`, and room for its
    calls; inside a group whose calls are reserved, the agents that wrote the programs are what bounds them.
    """
    examples = m.host.examples[:VOTE_EXAMPLES]
    programs = {
        key: program
        for index, key in keys.items()
        if key is not None and (program := extract_program(answers[index])) is not None
    }
    needed = len(programs) * len(examples)
    possible = m.host.task_type == "code" and tools.RUN_PROGRAM in m.host.tools
    counted = not m.task.private
    if not possible or len(programs) < 2 or not needed:
        return keys
    if counted and needed > m.limits.tool_calls - m.meter.tool_calls:
        return keys
    if counted:
        m.meter.tool_calls += needed  # now: votes beside this one look at the same meter
    place = m.task.frame.place
    members = [(_outputs(m, source, examples), place.child("vote")) for source in programs.values()]
    outcomes = yield Gather(members, True)
    behaviour = {key: outcome.value for key, outcome in zip(programs, outcomes)}
    return {index: key if key is None else behaviour.get(key) or key for index, key in keys.items()}


def _outputs(m, source: str, examples: tuple):
    """A program's output on each example, as one text; None on failure."""
    outputs = []
    for turn, example in enumerate(examples, 1):
        reply = yield tools.tool_request(m, tools.RUN_PROGRAM, {"code": source}, turn, example, counted=False)
        m.allocate(len(reply.text))
        if reply.error:
            return None
        outputs.append(reply.text.rstrip())
    return "does " + repr(outputs)


def _vote(answers: dict[int, str], keys: dict[int, str | None], weights) -> tuple[int, bool]:
    """The index of the winning answer, and whether all agree.

    It is the first answer that says what most say; only those that say something count.
    """
    voting = {index: key for index, key in keys.items() if key is not None}
    scores: dict[str, float] = {}
    for index, key in voting.items():
        weight = weights[index] if weights is not None else 1
        scores[key] = scores.get(key, 0) + (weight if type(weight) in (int, float, bool) else 1)
    if not scores:
        if weights is None:
            return next(iter(answers)), len(answers) == 1
        return max(answers, key=lambda index: weights[index] if type(weights[index]) in (int, float) else 1), True
    best = max(scores, key=scores.__getitem__)
    return next(index for index, key in voting.items() if key == best), len(scores) == 1


ENSEMBLE = native_class("EnsembleNode", WORKFLOW_NODE, {"__init__": init_ensemble, "process": process_ensemble})

# Reflection


def init_reflection(
    m,
    self,
    name="reflection",
    agent=None,
    num_iterations=2,
    reflection_prompt=None,
    critic_agent=None,
    refinement_prompt=None,
    include_history=False,
    **config,
):
    init_node(m, self, name, **config)
    _nodes(m, [agent], "agent")
    self.fields.update(
        agent=agent,
        num_iterations=num_iterations,
        reflection_prompt=reflection_prompt,
        critic_agent=critic_agent,
        refinement_prompt=refinement_prompt,
        include_history=include_history,
    )


def _template(self, name: str, default: str) -> str:
    """A prompt that the designer wrote, or ours."""
    own = self.fields.get(name)
    return own if type(own) is str and own else default


def _filled(m, template: str, fields: dict[str, str]) -> str:
    """A template filled once its size is accounted for.

    The template may be the script's.
    """
    added = sum(template.count(f"{{{name}}}") * len(text) for name, text in fields.items())
    m.need_string(len(template) + added, False)
    return fill(template, **fields)


def process_reflection(m, self, context):
    """Answer, then criticise and refine until approval or no change."""
    prompts = m.host.prompts
    agent = self.fields.get("agent")
    critic = self.fields.get("critic_agent") or agent
    question = yield from _question(m, context)
    first = node_result((yield node_request(agent, copy_context(m, context))))
    if is_error(first):
        return error_message(m, error_text(first))
    response = yield from content_text(m, first)
    history: list[dict] = []
    for index in range(1, _number(self.fields.get("num_iterations"), 2) + 1):
        fields = {"question": question, "response": _short(m, response), "history": _history(m, history)}
        prompt = _filled(m, _template(self, "reflection_prompt", prompts.reflection), fields)
        critique = yield from _critique(m, critic, prompt, context)
        history.append({"iteration": index, "response": response, "reflection": critique})
        if texts.approves(critique):
            break
        fields["reflection"] = texts.compact_critique(critique, prompts.omitted)
        with_history = bool(self.fields.get("include_history")) and len(history) > 1
        default = prompts.refinement_with_history if with_history else prompts.refinement
        prompt = _filled(m, _template(self, "refinement_prompt", default), fields)
        refined = node_result((yield node_request(agent, _asked(m, prompt, context))))
        if is_error(refined):
            break
        before, response = response, (yield from content_text(m, refined))
        m.charge(len(before) + len(response) >> 2)
        if texts.similarity(before, response) > 0.75:
            kept = texts.deliverable(response, m.host.task_type) or not texts.deliverable(before, m.host.task_type)
            response = response if kept else before
            break
    metadata = {"num_iterations": len(history), "generator_agent": node_name(agent), "critic_agent": node_name(critic)}
    return message(m, response, AGENT_RESPONSE, {**metadata, "history": history})


def _critique(m, critic, prompt: str, context):
    made = node_result((yield node_request(critic, _asked(m, prompt, context))))
    return m.host.prompts.reflection_failed if is_error(made) else (yield from content_text(m, made))


def _history(m, history: list[dict]) -> str:
    prompts = m.host.prompts
    return "".join(
        fill(
            prompts.history_entry,
            index=str(record["iteration"]),
            response=_short(m, record["response"]),
            reflection=texts.compact_critique(record["reflection"], prompts.omitted),
        )
        for record in history
    )


REFLECTION = native_class("ReflectionNode", WORKFLOW_NODE, {"__init__": init_reflection, "process": process_reflection})

# Debate


def init_debate(m, self, name="debate", debaters=(), judge=None, num_rounds=2, **config):
    init_node(m, self, name, **config)
    _nodes(m, debaters, "debaters")
    self.fields.update(debaters=debaters, judge=judge, num_rounds=num_rounds)


def process_debate(m, self, context):
    """Rounds of answers that see the rounds before, then the judge."""
    prompts = m.host.prompts
    debaters = _nodes(m, self.fields.get("debaters"), "debaters")
    m.allocate(MEMBER_BYTES * len(debaters))
    question = yield from _question(m, context)
    rounds: list[list[str]] = []
    for _ in range(max(1, _number(self.fields.get("num_rounds"), 2))):
        m.charge(10)
        if rounds:
            history = "".join(
                fill(prompts.debate_round, index=str(number), entries=_entries(m, debaters, answers))
                for number, answers in enumerate(rounds, 1)
            )
            prompt = fill(prompts.debate, question=question, history=history)
            jobs = [(debater, _asked(m, prompt, context)) for debater in debaters]
        else:
            jobs = [(debater, copy_context(m, context)) for debater in debaters]
        made = yield from gathered(m, jobs, calls_bound)
        if all(is_error(item) for item in made):
            return error_message(m, f"all debaters of {node_name(self)} failed: {error_text(made[0])}")
        answers = []
        for item in made:
            failed = is_error(item)
            answers.append(
                fill(prompts.debate_failed, error=error_text(item)) if failed else (yield from content_text(m, item))
            )
        rounds.append(answers)
    judge = self.fields.get("judge") or debaters[0]
    prompt = fill(prompts.debate_judge, question=question, entries=_entries(m, debaters, rounds[-1]))
    verdict = node_result((yield node_request(judge, _asked(m, prompt, context))))
    if is_error(verdict):
        return error_message(m, error_text(verdict))
    metadata = {"num_rounds": len(rounds), "num_debaters": len(debaters), "debate_history": rounds}
    return message(m, (yield from content_text(m, verdict)), AGENT_RESPONSE, metadata)


def _entries(m, debaters: list, answers: list[str]) -> str:
    return "".join(
        fill(m.host.prompts.debate_entry, index=str(number), name=node_name(debater), reply=_short(m, answer))
        for number, (debater, answer) in enumerate(zip(debaters, answers), 1)
    )


DEBATE = native_class("DebateNode", WORKFLOW_NODE, {"__init__": init_debate, "process": process_debate})

# Router


def init_router(m, self, name="router", routes=None, routing_func=None, default_route="default", **config):
    init_node(m, self, name, **config)
    if not isinstance(routes, dict) or not routes:
        raise ValueError("routes must be a dict of nodes that is not empty")
    self.fields.update(routes=routes, routing_func=routing_func, default_route=default_route)


def process_router(m, self, context):
    """Run the route that the routing function names.

    An unknown or failing one means the default.
    """
    routes, default = self.fields.get("routes"), self.fields.get("default_route")
    if not isinstance(routes, dict):
        raise TypeError("routes must be a dict of nodes")
    try:
        route = yield Invoke(self.fields.get("routing_func"), (context,))
    except Raised as error:
        if exceptions.EXCEPTION not in error.value.cls.mro:
            raise
        route = default
    m.charge(len(routes))
    known = [key for key in routes if type(key) is type(route) and type(key) in SCALARS and key == route]
    route = known[0] if known else default
    if type(route) not in SCALARS or route not in routes:
        raise ValueError(f"{node_name(self)} has no route '{brief(route)}'")
    made = node_result((yield node_request(routes[route], context)))
    metadata = made.fields.get("metadata")
    if isinstance(metadata, dict):
        metadata.update(routed_from=node_name(self), route_taken=route)
    return made


ROUTER = native_class("RouterNode", WORKFLOW_NODE, {"__init__": init_router, "process": process_router})


def create_keyword_router(m, name, keyword_routes, default_node, case_sensitive=False):
    """A router to the first keyword that occurs in the latest message."""

    def routing(m, context):
        latest = get_latest_message(m, context)
        content = (yield from content_text(m, latest)) if latest is not None else ""
        content = content if case_sensitive else content.lower()
        for keyword in keyword_routes:
            m.charge(1 + (len(content) >> 4) + (len(keyword) >> 4 if type(keyword) is str else 0))
            if type(keyword) is str and (keyword if case_sensitive else keyword.lower()) in content:
                return keyword
        return "default"

    if not isinstance(keyword_routes, dict):
        raise TypeError("keyword_routes must be a dict of nodes")
    m.need_entries(len(keyword_routes) + 1)
    hash_again(m, keyword_routes)
    m.allocate(400)
    return (yield Invoke(ROUTER, (name, {**keyword_routes, "default": default_node}, Native("routing", routing))))
