"""Messages, contexts and the base class of nodes.

They are native classes of the script language.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import GeneratorType
from typing import Any, ClassVar

from mxjax.mas.prompts import Prompts
from mxjax.mas.records import AgentCall, ToolCall, well_formed
from mxjax.script import exceptions, formatting
from mxjax.script.attributes import PROPERTIES
from mxjax.script.containers import append
from mxjax.script.errors import LimitExceeded
from mxjax.script.frames import Ask, Invoke, Place
from mxjax.script.keys import hashable
from mxjax.script.modules import dataclasses_
from mxjax.script.modules.inert import LOGGER
from mxjax.script.subscripts import grow
from mxjax.script.values import (
    UNBOUND,
    Class,
    Instance,
    Native,
    Raised,
    Wrapper,
    brief,
    class_methods,
    type_name,
)


@dataclasses.dataclass(slots=True)
class Host:
    """The outside world of one execution, and its records; `machine.host`."""

    holds: ClassVar[tuple[str, ...]] = ()

    prompts: Prompts
    task_type: str
    tools: Any
    returned: str | None = None
    failed: str = ""
    runs: int = 0
    examples: tuple[Mapping[str, Any], ...] = ()

    def reached(self, place: Place, what: Instance) -> None:
        """Note that a node is asked, or a workflow run, at `place`.

        Nothing is kept of it here.
        """

    def left(self, place: Place, text: str) -> None:
        """Note what the workflow that ran at `place` returned.

        Nothing is kept of it here.
        """


class MessageKind:
    """One member of `MessageType`; immutable, since every execution shares it."""

    __slots__ = ("name", "value")
    holds = ()
    type_name = "MessageType"
    cls: ClassVar[Class]  # the class of the script language that they are members of

    def __init__(self, name: str):
        self.name = name
        self.value = name.lower()

    def shown(self) -> str:
        return f"MessageType.{self.name}"


PROPERTIES[MessageKind] = {"name": lambda m, owner: owner.name, "value": lambda m, owner: owner.value}
_KINDS = ("USER_INPUT", "AGENT_RESPONSE", "TOOL_CALL", "TOOL_RESULT", "INTERMEDIATE", "FINAL_RESULT", "ERROR")
KINDS = {name: MessageKind(name) for name in _KINDS}
_BY_VALUE = {kind.value: kind for kind in KINDS.values()}
USER_INPUT, AGENT_RESPONSE, ERROR = KINDS["USER_INPUT"], KINDS["AGENT_RESPONSE"], KINDS["ERROR"]


def kind_by_value(m, cls: Class, value) -> MessageKind:
    """`MessageType("error")`."""
    found = value if type(value) is MessageKind else _BY_VALUE.get(value) if type(value) is str else None
    if found is None:
        raise ValueError(f"{brief(value)} is no MessageType; the values are {', '.join(_BY_VALUE)}")
    return found


MESSAGE_TYPE = Class(
    "MessageType",
    (),
    {**KINDS, "__members__": KINDS, "__class_call__": Native("MessageType", kind_by_value)},
    shared=True,
)
MessageKind.cls = MESSAGE_TYPE


def native_class(name: str, base: Class | None, methods: dict) -> Class:
    """A class of ours; its methods are functions `fn(machine, self, ...)`."""
    return Class(name, (base,) if base else (), class_methods(methods), shared=True)


def _enter(m, self):
    return self


def _leave(m, self, *error):
    return None


MANAGED = {"__enter__": _enter, "__exit__": _leave}  # what `with` needs; nothing has to be closed


def kind_of(value) -> MessageKind:
    """The message kind given as a member, a name or a value."""
    if type(value) is MessageKind:
        return value
    found = KINDS.get(value.upper()) if type(value) is str else None
    if found is None:
        raise TypeError(f"message_type must be a MessageType, not {type_name(value)}")
    return found


# Messages


def init_message(m, self, content=None, message_type=AGENT_RESPONSE, metadata=None, sender=None, recipient=None):
    m.allocate(600)
    self.fields.update(
        content=content,
        message_type=kind_of(message_type),
        metadata={} if metadata is None else metadata,
        sender=sender,
        recipient=recipient,
    )


def message_to_dict(m, self):
    m.need_entries(len(self.fields))
    return {**self.fields, "message_type": kind_of(self.fields.get("message_type")).value}


def message_from_dict(m, cls, data):
    if not isinstance(data, dict):
        raise TypeError(f"from_dict() takes what to_dict() gives, not {type_name(data)}")
    return (yield Invoke(cls, (), {key: data[key] for key in _FIELDS if key in data}))


def show_message(m, self):
    content = yield from formatting.to_repr(m, self.fields.get("content"))
    kind = yield from formatting.to_repr(m, self.fields.get("message_type"))
    return f"Message(content={content}, message_type={kind})"


_FIELDS = ("content", "message_type", "metadata", "sender", "recipient")
MESSAGE = native_class(
    "Message", None, {"__init__": init_message, "to_dict": message_to_dict, "__repr__": show_message}
)
MESSAGE.members["from_dict"] = Wrapper("classmethod", Native("from_dict", message_from_dict))
MESSAGE.members.update(
    dict.fromkeys(_FIELDS),
    __annotations__=dict.fromkeys(_FIELDS, "Any"),
    message_type=AGENT_RESPONSE,
    metadata=dataclasses_.Field(default_factory=Native("dict", lambda m: {})),
)
MESSAGE.shared = False
dataclasses_.make(MESSAGE, {})  # adds what is missing: `==`, and what `replace` and `asdict` look at
MESSAGE.shared = True


def message(m, content, kind: MessageKind, metadata: dict | None = None) -> Instance:
    """A new message."""
    made = Instance(MESSAGE, {})
    init_message(m, made, content, kind, metadata)
    return made


def error_message(m, reason: str) -> Instance:
    """A message that says why a node failed."""
    return message(m, {"error": reason}, ERROR)


def is_message(value) -> bool:
    """Whether `value` is a message, of `Message` or a subclass."""
    return type(value) is Instance and MESSAGE in value.cls.mro


def is_error(value: Instance) -> bool:
    """Whether a message says that a node failed."""
    return value.fields.get("message_type") is ERROR


def error_text(value: Instance) -> str:
    """The reason in an error message."""
    content = value.fields.get("content")
    reason = content.get("error") if isinstance(content, dict) else content
    return reason if type(reason) is str else "the node failed"


# Contexts


def init_context(m, self, messages=None, state=None, metadata=None):
    m.allocate(500)
    self.fields["messages"] = [] if messages is None else messages
    self.fields["state"] = {} if state is None else state
    if metadata is not None:
        self.fields["metadata"] = metadata


def messages_of(context) -> list:
    """The messages of a context; TypeError if they were replaced.

    It is raised when a script put something else there.
    """
    messages = context.fields.get("messages") if type(context) is Instance else None
    if type(messages) is not list:
        raise TypeError("expected a Context with a list of messages")
    return messages


def add_message(m, self, message):
    append(m, messages_of(self), message)


def get_latest_message(m, self, message_type=None, *, type=None):
    message_type = type if message_type is None else message_type
    for item in reversed(messages_of(self)):
        m.charge(1)
        if is_message(item) and (message_type is None or item.fields.get("message_type") is kind_of(message_type)):
            return item
    return None


def get_messages_by_type(m, self, message_type=None, *, type=None):
    wanted = kind_of(type if message_type is None else message_type)
    m.need_items(len(messages_of(self)))
    return [item for item in messages_of(self) if is_message(item) and item.fields.get("message_type") is wanted]


def _state(self) -> dict:
    state = self.fields.get("state")
    if not isinstance(state, dict):
        raise TypeError("the state of a Context must be a dict")
    return state


def set_state(m, self, key, value):
    grow(m, _state(self), key)
    _state(self)[key] = value


def get_state(m, self, key, default=None):
    hashable(m, key)
    return _state(self).get(key, default)


CONTEXT = native_class(
    "Context",
    None,
    {
        "__init__": init_context,
        "add_message": add_message,
        "get_latest_message": get_latest_message,
        "get_messages_by_type": get_messages_by_type,
        "set_state": set_state,
        "get_state": get_state,
    },
)

CONTEXT.members["metadata"] = Wrapper("cached_property", Native("metadata", lambda m, self: {}))


def new_context(m, messages=(), state=None) -> Instance:
    """A new context with copies of what is given."""
    made = Instance(CONTEXT, {})
    m.need_items(len(messages))
    m.need_entries(len(state or ()))
    init_context(m, made, list(messages), dict(state or {}))
    return made


def copy_context(m, context) -> Instance:
    """A context with copies of the message list and the state."""
    return new_context(m, messages_of(context), _state(context))


def question_message(context) -> Instance | None:
    """The first user input of a context, else its latest message."""
    found = [item for item in messages_of(context) if is_message(item)]
    first = next((item for item in found if item.fields.get("message_type") is USER_INPUT), None)
    return first or (found[-1] if found else None)


def content_text(m, item: Instance):
    """The content of a message as text."""
    return (yield from formatting.to_str(m, item.fields.get("content")))


# Nodes


def init_node(m, self, name="node", **config):
    m.allocate(400)
    self.fields["name"] = name
    self.fields["config"] = config


def part(node: Instance, name: str, kind: type):
    """A field that an object of the library keeps.

    Raises TypeError when a script has put something else there, or nothing.
    """
    value = node.fields.get(name)
    if not isinstance(value, kind):
        raise TypeError(
            f"the field {name} of a {node.cls.name} must be a {kind.__name__}, not {type_name(value)}: call "
            "super().__init__() and leave it alone"
        )
    return value


def node_name(node) -> str:
    """The name of a node, whatever a script put there."""
    name = node.fields.get("name") if type(node) is Instance else None
    return name if type(name) is str else "node"


def call_node(m, self, context):
    """`node(context)`: process, and add the message to the context.

    The message has the node as sender.
    """
    return run_node(m, self, context, m.task.frame.place.child(node_name(self)))


def run_node(m, node, context, place: Place):
    """Process a node at `place`.

    An exception of the script becomes an error message.
    """
    m.task.frame.place = place
    try:
        process = node.cls.lookup("process") if type(node) is Instance else UNBOUND
        if process is UNBOUND:
            raise TypeError(f"'{type_name(node)}' object is not a node")
        m.host.reached(place, node)
        if type(process) is Native:
            made = process.fn(m, node, context)
            made = (yield from made) if type(made) is GeneratorType else made
        else:
            made = yield Invoke(process, (node, context))
        if type(made) is str:
            made = message(m, made, AGENT_RESPONSE)
        elif not is_message(made):
            raise TypeError(f"process() of {node_name(node)} must return a Message, not {type_name(made)}")
    except (Raised, *exceptions.HOST_ERRORS) as error:
        value = exceptions.convert(error)
        if exceptions.EXCEPTION not in value.cls.mro:
            raise
        made = error_message(m, exceptions.describe(value))
    made.fields["sender"] = node_name(node)
    add_message(m, context, made)
    return made


def process(m, self, context):
    raise NotImplementedError("a node must define process(self, context)")


WORKFLOW_NODE = native_class("WorkflowNode", None, {"__init__": init_node, "__call__": call_node, "process": process})
WORKFLOW_NODE.members["logger"] = LOGGER


def node_request(node, context) -> Invoke:
    """The request to call a node as a script would.

    A subclass may thus override `__call__`.
    """
    method = node.cls.lookup("__call__") if type(node) is Instance else UNBOUND
    if method is UNBOUND:
        raise TypeError(f"'{type_name(node)}' object is not a node")
    return Invoke(method, (node, context))


def node_result(made) -> Instance:
    """What a node returned; TypeError unless it is a message."""
    if not is_message(made):
        raise TypeError(f"a node must return a Message, not {type_name(made)}")
    return made


# Calls

NOTHING_GIVEN: Mapping[str, Any] = {}


def agent_request(m, node: str, messages: list[dict[str, str]], turn: int, sampling: dict, parent: str | None) -> Ask:
    """The request for the model's reply to a conversation.

    It is accounted for; yielding it gives the `Reply`.
    """
    place, meter, limits = m.task.frame.place, m.meter, m.limits
    messages = [{"role": item["role"], "content": well_formed(item["content"])} for item in messages]
    chars = meter.prompt_chars + sum(len(item["content"]) for item in messages)
    m.charge(10 + (chars >> 12))
    if meter.agent_calls >= meter.most_calls:
        raise LimitExceeded("agent_calls")
    if meter.reply_tokens >= limits.reply_tokens:
        raise LimitExceeded("reply_tokens")
    if chars > limits.prompt_chars:
        raise LimitExceeded("prompt_chars")
    meter.agent_calls += 1
    meter.prompt_chars = chars
    call = AgentCall(f"{place.path}#{turn}", well_formed(node[:200]), messages, sampling, parent)
    return Ask(call, place, turn)


def plain(m, value, depth: int = 0):
    """A copy of a script's value as plain JSON data.

    It is for the host. Raises TypeError for anything else.
    """
    kind = type(value)
    if kind is str:
        m.meter.prompt_chars += len(value)
        if m.meter.prompt_chars > m.limits.prompt_chars:
            raise LimitExceeded("prompt_chars")
        return well_formed(value)
    m.charge(1)
    if value is None or kind in (bool, int, float):
        return value
    if depth >= m.limits.nesting:
        raise LimitExceeded("nesting")
    if kind is list or kind is tuple:
        m.need_items(len(value))
        return [plain(m, item, depth + 1) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        m.need_entries(len(value))
        return {plain(m, key): plain(m, item, depth + 1) for key, item in value.items()}
    raise TypeError(f"a tool takes text, numbers, lists and dicts with text as keys, not a {type_name(value)}")


def tool_request(
    m, name: str, arguments: dict, turn: int, given: Mapping[str, Any] = NOTHING_GIVEN, counted: bool = True
) -> Ask:
    """The request for a host tool's output; yielding it gives the `Reply`.

    `given` are arguments that the host knows already; they cost the script nothing. One that is not `counted` is no
    tool call of the script's.
    """
    place, meter = m.task.frame.place, m.meter
    if meter.tool_calls + counted > m.limits.tool_calls:
        raise LimitExceeded("tool_calls")
    m.charge(10)
    arguments = {name: plain(m, value) for name, value in arguments.items()}
    meter.tool_calls += counted
    call = ToolCall(f"{place.path}#{turn}.tool", name, {**arguments, **given}, place.path)
    return Ask(call, place, turn)
