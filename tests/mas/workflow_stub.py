"""A stand-in for the `workflow` library with which CPython runs a script: agents answer in place, calls are noted."""

import contextlib
import decimal
import io
import sys
import types


def reply_to(name):
    """What an agent of that name says."""
    return f"{name}={sum(map(ord, name)) % 10}"


class Message:
    def __init__(self, content, message_type=None):
        self.content = content


class MessageType:
    USER_INPUT = "user_input"


class Context:
    def __init__(self, messages=()):
        self.messages = list(messages)


def stub(calls):
    """The module, which notes the names of the agents that are called in `calls`."""

    class AgentNode:
        def __init__(self, name="agent", system_prompt="", **config):
            self.name = name

        def __call__(self, context):
            calls.append(self.name)
            return Message(reply_to(self.name))

    module = types.ModuleType("workflow")
    module.__dict__.update(AgentNode=AgentNode, Message=Message, MessageType=MessageType, Context=Context)
    return module


def in_cpython(source):
    """What CPython prints for a script, and the names of the agents that it calls, sorted."""
    out, calls = io.StringIO(), []
    names = {"__name__": "__main__", "question": "What is 1+1?"}
    before = sys.modules.get("workflow")
    sys.modules["workflow"] = stub(calls)
    try:
        own_context = decimal.localcontext(decimal.Context())  # what a script sets in it stays in it
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), own_context:
            try:
                exec(compile(source, "<script>", "exec"), names)
            except SystemExit:
                pass
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
    finally:
        sys.modules.pop("workflow")
        if before is not None:
            sys.modules["workflow"] = before
    return out.getvalue(), sorted(calls)
