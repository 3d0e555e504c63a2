"""Questions of another kind stand out, fresh ones of the same kind do not."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxjax.data.provenance import check_summary, merged, summary, unlike


def sums(seed, count):
    rng = random.Random(seed)
    text = lambda: " ".join(f"{rng.randint(1, 99)} {rng.choice('+-')}" for _ in range(2)) + f" {rng.randint(1, 99)}"
    return [rng.choice(["{}", "What is {}?"]).format(text()) for _ in range(count)]


def stories(seed, count):
    rng = random.Random(seed)
    names, things = ["Ann", "Bob", "Ines", "Omar", "Zoë"], ["apples", "marbles", "stamps", "coins"]
    return [
        f"{rng.choice(names)} has {rng.randint(2, 900)} {rng.choice(things)} and gives {rng.randint(1, 9)} away. "
        f"How many {rng.choice(things)} are left?" for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("make", [sums, stories])
def test_fresh_questions_of_the_same_kind_do_not_stand_out(make):
    trained = summary(make(1, 500))
    assert not any(unlike(text, trained) for text in make(2, 300))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("What is the capital of France?", "4 of its 6 words never occurred there (the, capital, of, france)"),
        ("WHAT IS THE CAPITAL OF FRANCE", "4 of its 6 words"),
        ("Ann has 12 apples", "3 of its 3 words"),
        ("12 * 7", "the sign * never occurred there"),
        ("123456789 + 1", "a number of 9 digits, and the longest there had 2"),
        (" + ".join("1" * 40), "characters, and the longest"),
        ("首都はどこですか", "words"),
        ("12 + 7 - 3", ""),
        ("  what  IS 12 + 7 - 3 ?", ""),
        ("", ""),
    ],
)
def test_what_sums_say_nothing_about(text, said):
    found = unlike(text, summary(sums(1, 500)))
    assert said in found and bool(said) == bool(found)


def test_one_new_word_among_many_is_no_other_kind():
    trained = summary(stories(1, 500))
    assert not unlike("Xanthippe has 12 apples and gives 3 away. How many apples are left?", trained)
    assert unlike("Xanthippe sells bicycles to Socrates weekly.", trained)


@given(st.lists(st.text(max_size=40)), st.lists(st.text(max_size=40)))
def test_what_was_trained_on_never_stands_out(first, second):
    both = merged(summary(first), summary(second))
    assert both == summary([*first, *second]) == merged(summary(second), summary(first))
    assert not any(unlike(text, both) for text in [*first, *second])
    check_summary(json.loads(json.dumps(both)))


def test_nothing_stands_out_where_nothing_is_known():
    assert summary([]) == {} and unlike("What is the capital of France?", {}) == ""


@pytest.mark.parametrize("value", [[], "x", {"words": []}, {"words": [1], "signs": "", "digits": 1, "chars": 1}, None])
def test_a_summary_from_a_file_is_checked(value):
    with pytest.raises(ValueError, match="no summary"):
        check_summary(value)
