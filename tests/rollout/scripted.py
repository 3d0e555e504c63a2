"""An engine whose replies a test writes: the same interface, no model, replies in any order the test likes."""

import random
from types import SimpleNamespace

import numpy as np

from mxjax.models import Tokenizer
from mxjax.sampling import Completion

TOKENIZER = Tokenizer.byte_level()


class ScriptedEngine:
    """Answers `reply(messages_text) -> str` for each request; `shuffle` seeds the order in which requests finish."""

    def __init__(self, reply, max_len=100_000, shuffle=None, tokenizer=TOKENIZER):
        self.reply, self.max_len, self.tokenizer = reply, max_len, tokenizer
        self.requests, self._waiting = [], []
        self._random = random.Random(shuffle) if shuffle is not None else None

    def submit(self, request):
        self.requests.append(request)
        self._waiting.append((len(self.requests) - 1, request))
        return SimpleNamespace(id=len(self.requests) - 1)

    def step(self):
        if self._random:
            self._random.shuffle(self._waiting)
        finished, self._waiting = self._waiting[:3], self._waiting[3:]
        return [self._complete(*item) for item in finished]

    def _complete(self, request_id, request):
        prompt = self.tokenizer.decode(request.prompt_token_ids, skip_special=False)
        answered = self.reply(prompt, request)
        text, reason = answered if isinstance(answered, tuple) else (answered, "stop")
        ids = [*self.tokenizer.encode(text), *([self.tokenizer.end_id] if reason == "stop" else [])]
        logprobs = np.full(len(ids), -1.0, np.float32)
        return Completion(request_id, np.array(ids, np.int32), text, logprobs, logprobs, reason)
