"""What the rewards of a run depend on beside its questions, recorded in its files so that nothing changes unseen.

A run that went on with another version of a grader, or another sandbox, would be paid by two rules; its table would
not say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from mxjax.config import to_json
from mxjax.errors import UserError
from mxjax.rewards import grader_versions

NO_RULE = ("sandbox", "max_fault_share")  # keys of `reward` that say how to grade, not what an answer earns


def grading_record(config: ConfigDict, level: str | None) -> dict[str, Any]:
    """The "grading" of a results file: versions of graders, level of the sandbox (None: not needed), and `reward`."""
    reward = {key: value for key, value in to_json(config)["reward"].items() if key not in NO_RULE}
    return {"graders": grader_versions(), "sandbox_level": level, "reward": reward}


def check_same_grading(place: Any, before: Mapping[str, Any] | None, now: Mapping[str, Any], way_out: str) -> None:
    """Raises UserError, naming each difference, where what is in `place` was graded in another way than now.

    A record that lacks a key, as one from before the key existed, agrees with any value of it.
    """
    changed = list(_changes(before or {}, now))
    if changed:
        raise UserError(f"{place} was graded in another way: {'; '.join(changed)}; {way_out}")


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before, now = _named(before), _named(now)
    for name in (name for name in now if name in before and before[name] != now[name]):
        yield f"{name} was {_value(before[name])} and is now {_value(now[name])}"


def _named(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record holds, by the names that messages use."""
    reward = {f"reward.{key}": value for key, value in record.get("reward", {}).items()}
    level = {"the sandbox level": record["sandbox_level"]} if "sandbox_level" in record else {}
    return {**level, **record.get("graders", {}), **reward}


def _value(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else repr(value)
