"""Pack training segments into rows of one fixed length.

Segments differ in length by a factor of a hundred. Rows of one shape keep a single compiled program busy with real
tokens; segment ids keep neighbours in a row from seeing each other, so packing never changes a gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from mxjax.errors import UserError
from mxjax.rl.stages import ROLES

ROW_DTYPES = {
    "tokens_BT": np.int32,
    "positions_BT": np.int32,
    "segment_ids_BT": np.int32,
    "roles_BT": np.int32,
    "weights_BT": np.float32,
    "old_logprobs_BT": np.float32,
    "advantages_BT": np.float32,
    "temperature_BT": np.float32,
}
_ZEROS = np.zeros(0, np.float32)  # stands for zeros of any length
PADDING = {name: 0 for name in ROW_DTYPES} | {"roles_BT": -1, "temperature_BT": 1}


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSegment:
    """One sequence to learn from.

    A prompt and the tokens sampled after it, or a conversation of several such turns.

    Attributes:
      role: the role whose loss it belongs to.
      tokens: int32[n], prompt and response.
      weights: f32[n], weight of each token in the loss; 0 on tokens that were not sampled, and on the first.
      old_logprobs: f32[n], nats, log pi_old of each token; read where the weight is positive. Zeros by default.
      advantages: f32[n], read where the weight is positive. Zeros by default.
      temperature: the sampling temperature at which log-probabilities are taken.

    Raises ValueError when the arrays do not have one shape, or the first token has a weight.
    """

    role: str
    tokens: np.ndarray
    weights: np.ndarray
    old_logprobs: np.ndarray = dataclasses.field(default_factory=lambda: _ZEROS)
    advantages: np.ndarray = dataclasses.field(default_factory=lambda: _ZEROS)
    temperature: float = 1.0

    def __post_init__(self):
        tokens = np.asarray(self.tokens, np.int32)
        object.__setattr__(self, "tokens", tokens)
        if tokens.ndim != 1 or not len(tokens):
            raise ValueError(f"a training segment needs a non-empty 1-D array of tokens, got shape {tokens.shape}")
        for name in ("weights", "old_logprobs", "advantages"):
            value = getattr(self, name)
            value = np.zeros(len(tokens), np.float32) if value is _ZEROS else np.asarray(value, np.float32)
            if value.shape != tokens.shape:
                raise ValueError(f"{name} of a training segment has shape {value.shape}, its tokens {tokens.shape}")
            object.__setattr__(self, name, value)
        if self.weights[0] != 0:
            raise ValueError("the first token of a training segment follows nothing, so its weight must be 0")
        if not self.temperature > 0:
            raise ValueError(f"a training segment's temperature must be positive, got {self.temperature}")

    def __len__(self) -> int:
        return len(self.tokens)


def training_segment(
    role: str, prompt_ids, response_ids, *, advantage=0.0, old_logprobs=None, weight=1.0, temperature=1.0
) -> TrainingSegment:
    """The segment of one LLM call.

    It joins prompt int32[P] and response int32[R]. `old_logprobs` is f32[R]. `advantage` and `weight` are spread over
    the response; the prompt gets 0.
    """
    prompt, response = np.asarray(prompt_ids, np.int32), np.asarray(response_ids, np.int32)

    def after_prompt(values) -> np.ndarray:
        values = np.broadcast_to(np.asarray(values, np.float32), response.shape)
        return np.concatenate([np.zeros(len(prompt), np.float32), values])

    return TrainingSegment(
        role=role,
        tokens=np.concatenate([prompt, response]),
        weights=after_prompt(weight),
        old_logprobs=after_prompt(0.0 if old_logprobs is None else old_logprobs),
        advantages=after_prompt(advantage),
        temperature=float(temperature),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Packed rows; every array is [rows, row_length].

    Attributes:
      tokens_BT, positions_BT: int32; positions count from 0 within each segment.
      segment_ids_BT: int32, index of the segment within its row from 1; 0 is padding.
      roles_BT: int32, index of the segment's role; -1 is padding.
      weights_BT, old_logprobs_BT, advantages_BT: f32, 0 at padding.
      temperature_BT: f32, 1 at padding.
      places: int64[segments, 2], the row and first column of each segment, in the order that `pack` was given.
    """

    tokens_BT: np.ndarray
    positions_BT: np.ndarray
    segment_ids_BT: np.ndarray
    roles_BT: np.ndarray
    weights_BT: np.ndarray
    old_logprobs_BT: np.ndarray
    advantages_BT: np.ndarray
    temperature_BT: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens_BT)

    def padded(self, count: int) -> Rows:
        """The rows, followed by empty ones up to `count` rows."""
        empty = ((0, count - len(self)), (0, 0))
        arrays = {name: np.pad(getattr(self, name), empty, constant_values=PADDING[name]) for name in ROW_DTYPES}
        return dataclasses.replace(self, **arrays)

    def micro_batches(self, rows: int) -> Iterator[dict[str, np.ndarray]]:
        """The arrays as dicts by attribute name, `rows` rows at a time."""
        for start in range(0, len(self), rows):
            yield {name: getattr(self, name)[start : start + rows] for name in ROW_DTYPES}


def pack(
    segments: Sequence[TrainingSegment], row_length: int, rows_multiple: int = 1, roles: Sequence[str] = ROLES
) -> Rows:
    """Pack segments into rows of `row_length` tokens.

    The longest come first, each into the first row with room. Ties keep the order of `segments`, so the result is
    deterministic. The number of rows is padded with empty ones to a multiple of `rows_multiple` (rows of one
    micro-batch). `roles` gives the role indices of `roles_BT`. Raises ValueError for a segment longer than a row, or of
    a role that is not in `roles`.
    """
    check_lengths(segments, row_length)
    places, count = _first_fit_decreasing([len(s) for s in segments], row_length)
    shape = (-(-count // rows_multiple) * rows_multiple, row_length)
    arrays = {name: np.full(shape, PADDING[name], dtype) for name, dtype in ROW_DTYPES.items()}
    next_id = np.ones(shape[0], np.int32)
    for segment, (row, start) in sorted(zip(segments, places), key=lambda placed: placed[1]):
        if segment.role not in roles:
            raise ValueError(f"a training segment has the role {segment.role!r}; known: {', '.join(roles)}")
        here = row, slice(start, start + len(segment))
        arrays["tokens_BT"][here] = segment.tokens
        arrays["positions_BT"][here] = np.arange(len(segment))
        arrays["segment_ids_BT"][here] = next_id[row]
        arrays["roles_BT"][here] = list(roles).index(segment.role)
        arrays["temperature_BT"][here] = segment.temperature
        for name in ("weights", "old_logprobs", "advantages"):
            arrays[f"{name}_BT"][here] = getattr(segment, name)
        next_id[row] += 1
    return Rows(**arrays, places=np.array(places, np.int64).reshape(-1, 2))


def check_lengths(segments: Sequence[TrainingSegment], row_length: int) -> None:
    """Raise ValueError if a segment does not fit into a row."""
    longest = max(map(len, segments), default=0)
    if longest > row_length:
        raise UserError(
            f"a training segment has {longest} tokens but rows hold {row_length}; raise rl.row_length, or lower "
            "roles.*.max_tokens"
        )


def _first_fit_decreasing(lengths: Sequence[int], row_length: int) -> tuple[list[tuple[int, int]], int]:
    """(row, first column) of each segment, and the number of rows."""
    places = [(0, 0)] * len(lengths)
    used: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, filled in enumerate(used) if filled + lengths[index] <= row_length), len(used))
        if row == len(used):
            used.append(0)
        places[index] = row, used[row]
        used[row] += lengths[index]
    return places, len(used)


def merge_turns(segments: Sequence[TrainingSegment]) -> list[TrainingSegment]:
    """Merge the calls of one conversation into one segment.

    Calls are merged where a later prompt is exactly an earlier prompt + response (+ more). The merged segment has the
    later tokens, with the weights, advantages and log-probabilities of every turn. Each sampled token keeps its context
    and is scored once, so loss and gradient are those of the separate segments, at the cost of the longest alone. A
    merged conversation stands where its last turn stood.
    """
    open_ends: dict[tuple, int] = {}
    merged: dict[int, TrainingSegment] = {}
    for index in sorted(range(len(segments)), key=lambda i: len(segments[i])):
        segment = segments[index]
        kind = segment.role, segment.temperature
        sampled = np.flatnonzero(segment.weights)
        prompt_length = sampled[0] if len(sampled) else len(segment)
        lengths = {n for (*other, n, _) in open_ends if tuple(other) == kind and n <= prompt_length}
        for n in sorted(lengths, reverse=True):
            earlier = open_ends.pop((*kind, n, segment.tokens[:n].tobytes()), None)
            if earlier is not None:
                segment = _extend(merged.pop(earlier), segment)
                break
        merged[index] = segment
        open_ends[(*kind, len(segment), segment.tokens.tobytes())] = index
    return [merged[index] for index in sorted(merged)]


def _extend(earlier: TrainingSegment, later: TrainingSegment) -> TrainingSegment:
    def joined(name):
        return np.concatenate([getattr(earlier, name), getattr(later, name)[len(earlier) :]])

    names = ("weights", "old_logprobs", "advantages")
    return dataclasses.replace(later, **{name: joined(name) for name in names})
