"""Render Hugging Face chat templates.

A template is Jinja source; with messages it gives the text that a model was trained on.

Templates arrive with downloaded weights, so they are untrusted programs: they run in Jinja's immutable
sandbox, with the few globals and filters that Hugging Face defines and nothing else. `template_process` runs this
file, which therefore imports nothing of ours.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import signal
import sys
from collections.abc import Callable

import jinja2
import jinja2.ext
import jinja2.sandbox


class _GenerationBlock(jinja2.ext.Extension):
    """The block `{% generation %}...{% endgeneration %}`, passed through unchanged.

    Templates mark with it the text that the model writes.
    """

    tags = {"generation"}  # noqa: RUF012 (Jinja's protocol)

    def parse(self, parser):
        parser.stream.skip()
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's `namespace()`, without names that begin with an underscore.

    Such names are a way out of a sandbox.
    """

    def __init__(*args, **kwargs):
        self, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _refuse_private(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name, value):
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: str) -> None:
    if str(name).startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a chat template may not set {name!r} on a namespace")


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def compile_template(source: str) -> Callable[..., str]:
    """A function from the template's variables (`messages`, `add_generation_prompt`, ...) to the text.

    Raises ValueError if `source` is not a template. The returned function raises `jinja2.TemplateError` when
    the template refuses its messages.
    """
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    environment.globals["namespace"] = _Namespace
    try:
        return environment.from_string(source).render
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"the chat template does not parse, line {error.lineno}: {error.message}") from error


def rendered(render: Callable[..., str], variables: dict) -> str:
    """The text that `render` writes.

    Raises ValueError with the reason for any error in the template.
    """
    try:
        return render(**variables)
    except jinja2.TemplateError as error:
        raise ValueError(str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # the template's own mistake: a sum of text and number, a loop over nothing
        raise ValueError(f"{type(error).__name__}: {error}") from error


def serve(cpu_s: float, memory_bytes: int, max_chars: int) -> None:
    """Render the templates that arrive on standard input.

    Each line `[source, variables]` is answered by a line `[text, refusal, whether a limit was broken]`. The limits
    apply to each line; the process ends when one exceeds that of processor time.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    compiled = functools.lru_cache(maxsize=16)(compile_template)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, cpu_s)  # of processor time, after which the process is ended
        try:
            source, variables = json.loads(line)
            text = rendered(compiled(source), variables)
            fits = len(text) <= max_chars
            answer = [text, "", False] if fits else ["", f"it writes over {max_chars:,} characters", True]
        except MemoryError:
            answer = ["", f"it takes over {memory_bytes >> 20:,} MiB of memory", True]
        except Exception as error:
            answer = ["", str(error)[:1000] or type(error).__name__, False]
        text = json.dumps(answer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(text, file=out, flush=True)
