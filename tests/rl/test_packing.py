"""Laws of packing, a brute-force bound on the number of rows, and merging the turns of a conversation."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.rl import TrainingSegment, merge_turns, pack, training_segment
from mxjax.rl.packing import PADDING, ROW_DTYPES

ROW = 12
ARRAYS = ("tokens", "weights", "old_logprobs", "advantages")


def segment(length, seed=0, role="designer", temperature=1.0):
    rng = np.random.default_rng(seed)
    weights = rng.random(length)
    weights[0] = 0
    return TrainingSegment(
        role, rng.integers(0, 99, length), weights, *rng.normal(size=(2, length)), temperature=temperature
    )


segments = st.lists(
    st.builds(
        segment,
        st.integers(1, ROW),
        st.integers(0, 1000),
        st.sampled_from(["designer", "executor"]),
        st.sampled_from([1.0, 0.6]),
    ),
    max_size=12,
)


def content(rows):
    """What a packed batch says, whatever the order: one tuple per segment."""
    found = []
    for row, count in enumerate(rows.segment_ids_BT.max(axis=1, initial=0)):
        for index in range(1, count + 1):
            here = rows.segment_ids_BT[row] == index
            found.append(tuple(tuple(getattr(rows, name)[row][here].tolist()) for name in ROW_DTYPES
                               if name != "segment_ids_BT"))  # fmt: skip
    return sorted(found)


@settings(max_examples=200, deadline=None)
@given(segments, st.integers(1, 5))
def test_every_token_exactly_once(given_segments, multiple):
    rows = pack(given_segments, ROW, multiple)
    assert len(rows) % multiple == 0
    covered = np.zeros(rows.tokens_BT.shape, int)
    for s, (row, start) in zip(given_segments, rows.places, strict=True):
        here = row, slice(start, start + len(s))
        covered[here] += 1
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(rows, f"{name}_BT")[here], getattr(s, name))
        np.testing.assert_array_equal(rows.positions_BT[here], np.arange(len(s)))
        assert (rows.temperature_BT[here] == np.float32(s.temperature)).all()
        assert (rows.roles_BT[here] == ["designer", "executor"].index(s.role)).all()
        assert len(set(rows.segment_ids_BT[here])) == 1
    assert covered.max(initial=0) <= 1
    np.testing.assert_array_equal(covered, rows.segment_ids_BT > 0)
    for name, dtype in ROW_DTYPES.items():
        array = getattr(rows, name)
        assert array.dtype == dtype and array.shape == rows.tokens_BT.shape
        assert (array[covered == 0] == PADDING[name]).all()


@settings(max_examples=100, deadline=None)
@given(segments)
def test_segment_ids_count_from_one_without_gaps(given_segments):
    for row in pack(given_segments, ROW).segment_ids_BT:
        filled = row[row > 0]
        assert (row[: len(filled)] > 0).all()
        assert [index for index, _ in itertools.groupby(filled)] == list(range(1, len(set(filled)) + 1))


@settings(max_examples=100, deadline=None)
@given(segments, st.randoms())
def test_content_does_not_depend_on_order(given_segments, random):
    shuffled = list(given_segments)
    random.shuffle(shuffled)
    assert content(pack(given_segments, ROW)) == content(pack(shuffled, ROW))
    assert len(pack(given_segments, ROW)) == len(pack(shuffled, ROW))


def fewest_rows(lengths):
    """The least number of rows, by trying every row for every segment."""

    @functools.cache
    def search(index, used):
        if index == len(lengths):
            return len(used)
        options = [search(index + 1, tuple(sorted((*used, lengths[index]))))]
        for i in range(len(used)):
            if used[i] + lengths[index] <= ROW:
                grown = (*used[:i], used[i] + lengths[index], *used[i + 1 :])
                options.append(search(index + 1, tuple(sorted(grown))))
        return min(options)

    return search(0, ())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, ROW), max_size=7))
def test_rows_are_within_the_bound_of_first_fit_decreasing(lengths):
    best = fewest_rows(tuple(lengths))
    assert best <= len(pack([segment(n) for n in lengths], ROW)) <= 11 / 9 * best + 6 / 9


def test_ties_keep_the_order_given():
    rows = pack([segment(6, seed) for seed in range(3)], ROW)
    assert rows.places.tolist() == [[0, 0], [0, 6], [1, 0]]


def test_nothing_to_pack_and_padding():
    assert len(pack([], ROW, 4)) == 0
    rows = pack([segment(3)], ROW).padded(3)
    assert len(rows) == 3 and (rows.segment_ids_BT[1:] == 0).all() and (rows.roles_BT[1:] == -1).all()
    assert [len(micro["tokens_BT"]) for micro in rows.micro_batches(1)] == [1, 1, 1]


def test_errors_name_the_lengths_and_the_key():
    with pytest.raises(ValueError, match=r"13 tokens but rows hold 12; raise rl.row_length"):
        pack([segment(13)], ROW)
    with pytest.raises(ValueError, match="'critic'; known: designer, executor"):
        pack([segment(3, role="critic")], ROW)
    with pytest.raises(ValueError, match="first token"):
        TrainingSegment("designer", [1, 2], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"weights .* has shape"):
        TrainingSegment("designer", [1, 2], [0.0])
    with pytest.raises(ValueError, match="non-empty"):
        TrainingSegment("designer", [], [])
    with pytest.raises(ValueError, match="temperature"):
        training_segment("designer", [1], [2], temperature=0.0)


def turns(lengths, seed=0, role="executor"):
    """Calls of one conversation: each prompt is everything before it and some new ids."""
    rng = np.random.default_rng(seed)
    history, calls = np.zeros(0, int), []
    for prompt, response in lengths:
        sent, sampled = np.append(history, rng.integers(0, 9, prompt)), rng.integers(0, 9, response)
        calls.append(
            training_segment(role, sent, sampled, advantage=rng.normal(), old_logprobs=rng.normal(size=response))
        )
        history = np.append(sent, sampled)
    return calls


def scored(given_segments):
    """Every weighted token with all it depends on: context, log-probability, advantage, weight."""
    return sorted(
        (s.role, s.temperature, tuple(s.tokens[: t + 1].tolist()), *(float(getattr(s, n)[t]) for n in ARRAYS[1:]))
        for s in given_segments
        for t in np.flatnonzero(s.weights)
    )


def test_turns_of_a_conversation_become_one_segment():
    calls = turns([(3, 2), (2, 4), (0, 1)])
    (merged,) = merge_turns(calls)
    np.testing.assert_array_equal(merged.tokens, calls[-1].tokens)
    np.testing.assert_array_equal(np.flatnonzero(merged.weights), [3, 4, 7, 8, 9, 10, 11])
    assert scored([merged]) == scored(calls)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4),
            st.integers(0, 2),
            st.sampled_from(["designer", "executor"]),
        ),
        max_size=4,
    ),
    st.randoms(),
)
def test_merging_keeps_what_is_scored(conversations, random):
    calls = [call for lengths, seed, role in conversations for call in turns(lengths, seed, role)]
    random.shuffle(calls)
    merged = merge_turns(calls)
    assert scored(merged) == scored(calls)
    assert len(merged) <= len(calls)


def test_what_does_not_continue_is_not_merged():
    first, second = turns([(3, 2), (2, 2)])
    branch = training_segment("executor", first.tokens, [1, 2, 3])
    other_role = training_segment("designer", first.tokens, [1])
    hotter = training_segment("executor", first.tokens, [1], temperature=2.0)
    inside = training_segment("executor", first.tokens[:3], [1])
    for alone in (other_role, hotter, inside):
        assert len(merge_turns([first, alone])) == 2
    assert len(merge_turns([first, second, branch])) == 2, "an answer is trained once, whichever branch takes it"
    assert merge_turns([]) == []
