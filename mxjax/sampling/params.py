"""Requests and completions: what goes into the engine and what comes out.

Settings carry vLLM's names and defaults, so that a user's sampling dictionary works unchanged.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mxjax.errors import UserError
from mxjax.values import is_integer, is_number

MAX_STOP_IDS = 8
MIN_TEMPERATURE = 1e-5  # logits divided by less leave float32
MAX_TEMPERATURE = 1e4  # beyond it sampling is uniform, and float32 is near its end


@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """How one request is sampled.

    `temperature` 0 is greedy; `top_k` 0 or -1, `top_p` 1 and `min_p` 0 are off.

    `stop_token_ids` add to the tokenizer's own; a stop id is kept in `token_ids`. `stop` strings end the text before
    them and the ids at the one that completes them. The first `min_tokens` tokens can neither be stop ids nor complete
    a stop string. `seed` None takes the engine's next one (`unseeded`). NumPy's numbers become Python's. Raises
    ValueError for impossible values and for those of another type, a bool among them.

    Penalties act on the logits before temperature: those of tokens in the prompt or the response so far are divided by
    `repetition_penalty` where positive and multiplied where negative; then `frequency_penalty` times a token's count in
    the response, and `presence_penalty` if it is there at all, are subtracted.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    max_tokens: int = 256
    min_tokens: int = 0
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    seed: int | None = None

    def __post_init__(self):
        for name in ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"):
            object.__setattr__(self, name, _real(name, getattr(self, name)))
        for name in ("top_k", "max_tokens", "min_tokens"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        object.__setattr__(self, "stop", _texts(self.stop))
        object.__setattr__(self, "stop_token_ids", _ids(self.stop_token_ids))
        if self.seed is not None:
            object.__setattr__(self, "seed", _whole("seed", self.seed))
        checks = [
            (
                self.temperature == 0 or MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE,
                f"temperature must be 0 (greedy) or a number from {MIN_TEMPERATURE} to {MAX_TEMPERATURE:g}",
            ),
            (self.top_k >= -1, "top_k must be a count, or 0 or -1 for all tokens"),
            (0 < self.top_p <= 1, "top_p must be in (0, 1]"),
            (0 <= self.min_p <= 1, "min_p must be in [0, 1]"),
            (0 < self.repetition_penalty < float("inf"), "repetition_penalty must be above 0"),
            (-2 <= self.presence_penalty <= 2, "presence_penalty must be in [-2, 2]"),
            (-2 <= self.frequency_penalty <= 2, "frequency_penalty must be in [-2, 2]"),
            (self.max_tokens >= 1, "max_tokens must be at least 1"),
            (0 <= self.min_tokens <= self.max_tokens, "min_tokens must be between 0 and max_tokens"),
            (all(self.stop), "stop strings must not be empty"),
            (self.seed is None or -(2**63) <= self.seed < 2**64, "seed must be a whole number of 64 bits, or None"),
        ]
        for holds, sentence in checks:
            if not holds:
                raise UserError(f"{sentence}; got {self}")

    @property
    def penalised(self) -> bool:
        """Whether earlier tokens change the logits."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)

    def replace(self, **changes) -> SamplingParams:
        """A copy with some settings changed."""
        return dataclasses.replace(self, **changes)


def unseeded(number: int) -> int:
    """The seed of request `number`, for one without its own.

    It has 64 bits, far from any seed that a person writes.
    """
    digest = hashlib.blake2b(f"unseeded {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _real(name: str, value: Any) -> float:
    if not is_number(value):
        raise UserError(f"{name} must be a number; got {value!r:.80}")
    try:
        return float(value)
    except OverflowError:
        raise UserError(f"{name} must be a number that fits a float; got a larger one") from None


def _whole(name: str, value: Any) -> int:
    if not is_integer(value):
        raise UserError(f"{name} must be a whole number; got {value!r:.80}")
    if int(value).bit_length() > 64:
        raise UserError(f"{name} must be a whole number of 64 bits; got one of {int(value).bit_length()}")
    return int(value)


def _texts(value: Any) -> tuple[str, ...]:
    value = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise UserError(f"stop must be a text or a list of texts; got {value!r:.80}")
    return tuple(value)


def _ids(value: Any) -> tuple[int, ...]:
    value = () if value is None else value
    if not isinstance(value, list | tuple | set | frozenset | np.ndarray):
        raise UserError(f"stop_token_ids must be a list of ids; got {value!r:.80}")
    return tuple(_whole("each of stop_token_ids", id) for id in value)


@dataclasses.dataclass(frozen=True)
class Request:
    """The exact ids to continue, and how to sample.

    `parent` is the id of an earlier request whose ids these extend, if any.

    `deadline_s` seconds after `submit` the request ends with what was sampled by then. Raises ValueError if that is
    negative, and for values of another type; what the engine's model cannot take is refused by `submit`.
    """

    prompt_token_ids: Sequence[int] | np.ndarray
    sampling: SamplingParams = dataclasses.field(default_factory=SamplingParams)
    parent: int | None = None
    deadline_s: float | None = None

    def __post_init__(self):
        if not isinstance(self.sampling, SamplingParams):
            raise UserError(f"sampling must be SamplingParams; got {self.sampling!r:.80}")
        if self.parent is not None:
            _whole("parent", self.parent)
        if self.deadline_s is not None and not _real("deadline_s", self.deadline_s) >= 0:
            raise UserError(f"deadline_s must be seconds from now, at least 0; got {self.deadline_s}")
        self.ids()

    def ids(self) -> np.ndarray:
        """The prompt as integers [P].

        Raises ValueError for anything but a flat list of ids that is not empty.
        """
        try:
            ids = np.asarray(self.prompt_token_ids)
        except ValueError:  # lists of several lengths
            ids = np.empty((0, 0))
        if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise UserError(f"prompt_token_ids must be a non-empty list of ids; got {self.prompt_token_ids!r:.80}")
        return ids


@dataclasses.dataclass(frozen=True)
class Completion:
    """The result of a request.

    `token_ids` are int32[R], both log-probabilities f32[R] in nats.

    `logprobs` are those of the distribution sampled from (after penalties, temperature and truncation),
    `model_logprobs` those of softmax(logits / T) before penalties and truncation (T = 1 for greedy). `text` leaves out
    special tokens and stop strings.
    `finish_reason` is "stop", "length", "cancelled", "deadline" or "error" (`error` says why; there is no text):
    a log-probability that is not finite ends its request so, as its last token.
    """

    request_id: int
    token_ids: np.ndarray
    text: str
    logprobs: np.ndarray
    model_logprobs: np.ndarray
    finish_reason: str
    error: str | None = None
