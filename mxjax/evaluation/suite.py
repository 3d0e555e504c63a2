"""Several systems on several benchmarks, continued after a kill.

Finished questions are never answered twice. Each finished question is one line of
`episodes/<system>_<benchmark>.jsonl`: the whole episode, the record that the row is made of, and a digest of every
setting that the answer depends on. Seeds derive from question ids, so what is left comes out as it would have in one
go.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from mxjax import __version__, checkpoint, mas, models
from mxjax.config import to_json
from mxjax.evaluation.answered import Answered
from mxjax.evaluation.harness import Outcome, evaluate
from mxjax.evaluation.systems import BEST_FIXED, DESIGNED, FIXED, fixed_script, tokens_of
from mxjax.files import absolute, file_name, make_folder, read_rows, write_text
from mxjax.grading import Grading, check_same_grading
from mxjax.rollout import Question, QuestionTree, Role
from mxjax.workdir import Workdir, plain, question_record, tree_record, tree_text

NOT_KEPT = "bring that back, or evaluate without --resume or with another --output"
MOST_CANDIDATES = 4  # of the designer's own scripts, for "best_fixed"
Questions = Sequence[Question]

_CONFIG = ("reward", "rollout", "roles")  # parts of a config that answers and grades depend on
_MODEL_FILES = (".safetensors", ".gguf", ".json", ".jinja", ".model")


@dataclasses.dataclass(frozen=True)
class Suite:
    """What the evaluations of one command share.

    `settings` are all settings that an answer depends on beside its question, its system and `samples`; with `resume`
    False, what earlier commands have left is not looked at.
    """

    workdir: Workdir
    roles: Mapping[str, Role]
    grading: Grading
    settings: Mapping[str, Any]
    limits: mas.Limits
    agent_text: str
    seed: int = 0
    resume: bool = False

    def run(
        self,
        system: str,
        benchmark: str,
        questions: Questions,
        samples: int = 1,
        script: str = "",
        progress: Callable[[int, float], None] = lambda done, accuracy: None,
    ) -> Outcome:
        """One system on one benchmark.

        Its episodes are then in `episodes/`, as records and as text.
        """
        name = self.file_name(system, benchmark, script)
        key = digest({**self.settings, "system": system, "samples": samples, "script": script})
        path = self.workdir.path / f"{name}.jsonl"
        make_folder(path.parent)
        lines = self._kept(path, key, questions)
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        executor = self.roles["executor"]
        answers, designs = self.roles.get(system, executor), self.roles.get("designer", executor)
        decode = answers.engine.tokenizer.decode, designs.engine.tokenizer.decode

        def finished(tree: QuestionTree, record: Answered) -> None:
            stamps = {"record": dataclasses.asdict(record), "settings": key, "grading": self.grading.record}
            line = {**tree_record(tree, *decode), **stamps}
            self.workdir.append(f"{name}.jsonl", [line])

        outcome = evaluate(
            questions,
            system,
            self.roles,
            self.grading.reward,
            benchmark=benchmark,
            samples=samples,
            seed=self.seed,
            limits=self.limits,
            agent_text=self.agent_text,
            progress=progress,
            tools=self.grading.tools,
            script=script,
            earlier={line["question"]["id"]: Answered.from_json(line["record"]) for line in lines},
            finished=finished,
        )
        write_text(path.parent / f"{path.stem}.txt", "\n".join(tree_text(line) for line in read_rows(path)))
        return outcome

    def file_name(self, system: str, benchmark: str, script: str = "") -> str:
        """The path of an evaluation's episodes within the workdir, without its ending."""
        suffix = f"_{digest(script)}" if script else ""
        return f"episodes/{system}_{file_name(benchmark)}{suffix}"

    def _kept(self, path: epath.Path, key: str, questions: Questions) -> list[dict[str, Any]]:
        """Lines of an earlier start that are still valid for these questions.

        They answer one of them under the same settings. Questions of which the machine lost an execution are asked
        again. Raises UserError for one that was graded in another way.
        """
        if not self.resume:
            return []
        records: dict[str | None, dict[str, Any]] = {question.id: question_record(question) for question in questions}
        lines = {}
        for line in read_rows(path):
            question = line.get("question") or {}
            if line.get("settings") != key or records.get(question.get("id")) != question:
                continue
            if not line["record"]["failures"].get("infrastructure"):
                check_same_grading(path, line.get("grading"), self.grading.record, NOT_KEPT)
                lines[question["id"]] = line
        return list(lines.values())

    def choose_fixed(self, validation: str, questions: Questions) -> dict[str, Any]:
        """The design that is best for all of `questions`.

        Of the fixed ones, and of the designer's own most frequent. Between equally good ones the cheaper is chosen.
        Returns its name and script, and what each candidate reached.
        """
        self.run(DESIGNED, f"validation_{validation}", questions)
        path = self.workdir.path / f"{self.file_name(DESIGNED, f'validation_{validation}')}.jsonl"
        designs = [design for line in read_rows(path) for design in line["designs"] if not design["error"]]
        sources = collections.Counter(sorted(design["source"] for design in designs))
        scripts = {name: fixed_script(name, self.agent_text) for name in FIXED}
        scripts |= {f"design {n}": source for n, (source, _) in enumerate(sources.most_common(MOST_CANDIDATES), 1)}
        rows = {
            name: self.run(BEST_FIXED, f"validation_{validation}", questions, script=script).row
            for name, script in scripts.items()
        }
        best = max(rows, key=lambda name: (rows[name]["accuracy"], -tokens_of(rows[name])))
        reached = [{"name": name, "accuracy": row["accuracy"], "tokens": tokens_of(row)} for name, row in rows.items()]
        return {
            "name": best,
            "script": scripts[best],
            "validation": validation,
            "n": len(questions),
            "candidates": reached,
        }


def digest(value: Any) -> str:
    """12 hexadecimal digits for a value that `workdir.plain` can write."""
    text = json.dumps(plain(value), sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def questions_digest(questions: Sequence[Question], *others: Any) -> str:
    """Digest of questions in order, and of a row's other questions."""
    return digest([[question_record(question) for question in questions], *others])


def weights_stamp(source: str, step: int | None) -> Any:
    """What tells weights from others of the same name.

    The manifest of a checkpoint, or each file's size and time; nothing for a source that is no local file or folder.
    """
    if models.is_workdir(source):
        manifest = absolute(source) / "checkpoints" / str(step) / checkpoint.MANIFEST
        return digest(manifest.read_text()) if manifest.exists() else None
    path = epath.Path(source).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    stats = [(file.name, file.stat()) for file in files if file.suffix in _MODEL_FILES]
    return [(name, stat.length, stat.mtime) for name, stat in stats]


def settings_of(
    sources: Sequence[tuple[str, int | None, ConfigDict]], roles: Mapping[str, Role], seed: int
) -> dict[str, Any]:
    """All settings that an answer depends on.

    Beside its question, its system and the number of samples. `sources` are (checkpoint, step, config) of each policy,
    its config as the flags of the command have left it.
    """
    configs = [to_json(config) for _, _, config in sources]
    return {
        "mxjax": __version__,
        "seed": seed,
        "checkpoints": [(source, step) for source, step, _ in sources],
        "weights": [weights_stamp(source, step) for source, step, _ in sources],
        "configs": [{name: config[name] for name in _CONFIG} for config in configs],
        "engines": [(config["engine"]["max_len"], config["engine"]["slots"]) for config in configs],
        "agent_text": configs[0]["eval"]["agent_text"],
        "roles": {name: (role.sampling, mas.load_prompts(role.prompt)) for name, role in roles.items()},
    }
