"""An engine whose replies a test writes: the same interface, no model, replies in any order the test likes."""

import random

import numpy as np

from mxjax.models import Tokenizer
from mxjax.sampling import Completion

TOKENIZER = Tokenizer.byte_level()


class _Handle:
    def __init__(self, engine, id, request):
        self.engine, self.id, self.request, self.completion = engine, id, request, None

    @property
    def done(self):
        return self.completion is not None

    def result(self):
        while not self.done:
            self.engine.step()
        return self.completion

    def cancel(self):
        if not self.done:
            self.engine.cancel(self)


class ScriptedEngine:
    """Answers each request with `reply(messages_text, request)`: a text, ids as if sampled, or (text, finish reason).

    `shuffle` seeds the order in which requests finish.
    """

    prefix_cache = "off"

    def __init__(self, reply, max_len=100_000, shuffle=None, tokenizer=TOKENIZER):
        self.reply, self.max_len, self.tokenizer = reply, max_len, tokenizer
        self.requests, self._waiting = [], []
        self._random = random.Random(shuffle) if shuffle is not None else None

    def submit(self, request):
        self.requests.append(request)
        self._waiting.append(_Handle(self, len(self.requests) - 1, request))
        return self._waiting[-1]

    def step(self):
        if self._random:
            self._random.shuffle(self._waiting)
        finished, self._waiting = self._waiting[:3], self._waiting[3:]
        for handle in finished:
            handle.completion = self._complete(handle.id, handle.request)
        return [handle.completion for handle in finished]

    @property
    def live(self):
        return len(self._waiting)

    def cancel(self, handle):
        self._waiting.remove(handle)

    def _complete(self, request_id, request):
        prompt = self.tokenizer.decode(request.prompt_token_ids, skip_special=False)
        answered = self.reply(prompt, request)
        text, reason = answered if isinstance(answered, tuple) else (answered, "stop")
        if isinstance(text, list):
            ids, text = text, self.tokenizer.decode(text)
        else:
            ids = self.tokenizer.encode(text)
        ids = [*ids, *([self.tokenizer.end_id] if reason == "stop" else [])]
        logprobs = np.full(len(ids), -1.0, np.float32)
        return Completion(request_id, np.array(ids, np.int32), text, logprobs, logprobs, reason)
