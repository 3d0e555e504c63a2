"""`calls_left()` and `tokens_left()`: a script's remaining budget.

With these, a design can adapt to it.
"""

from __future__ import annotations

from mxjax.script.values import Native


def calls_left(m):
    return m.meter.calls_left


def tokens_left(m):
    return max(0, m.limits.reply_tokens - m.meter.reply_tokens)


BUDGET = {name.__name__: Native(name.__name__, name) for name in (calls_left, tokens_left)}
