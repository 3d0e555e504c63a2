"""Text to token ids and back, chat messages included, for one model.

Why not `transformers`: importing it is slow, it builds no tokenizer from GGUF without torch, and what a
reinforcement-learning run needs is narrower and stricter than its interface: text written by a model or a
tool must never turn into control tokens, and a conversation must continue from the exact ids that were
sampled.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2
import tokenizers
from etils import epath
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from mxjax.errors import MissingFile, UserError
from mxjax.files import read_json
from mxjax.models.chat_template import compile_template
from mxjax.models.tokenizer_files import digits_and_bytes, gguf_pipeline, sentencepiece_file

ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")
END_TOKEN = "<|end|>"
PAD_TOKEN = "<|pad|>"

# The chat template of tokenizers that we train: one token opens a turn, one ends it, nothing in between.
COMPACT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('a role must be system, user or assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# Thinking is off unless asked for: the paper trains and evaluates with short answers.
DEFAULT_OPTIONS = {"enable_thinking": False}

Message = Mapping[str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A byte-pair tokenizer with its chat template.

    Attributes:
      backend: the `tokenizers` pipeline (`tokenizer.json`).
      template: Jinja source of the chat template, None for a model that has none.
      stop_ids: ids that end a reply, sorted: what the model's files name, and the template's end-of-turn
        token (a base model's files name only its end-of-text token, and a chat trained on it would never
        stop).
      config: contents of `tokenizer_config.json` without the template; `bos_token` and the like reach the
      template.
      options: further variables for the template, such as `enable_thinking`, or `date_string` for templates
        that otherwise print today's date.
    """

    backend: tokenizers.Tokenizer
    template: str | None = None
    stop_ids: Sequence[int] = ()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=lambda: dict(DEFAULT_OPTIONS))

    def __post_init__(self):
        stop_ids = {int(i) for i in self.stop_ids}
        if self.template:
            try:
                stop_ids.add(self.end_id)
            except ValueError:
                pass  # a template without separate turns still renders prompts; extend_ids will say so
        object.__setattr__(self, "stop_ids", tuple(sorted(stop_ids)))

    # Text

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text. Nothing is added in front or behind.

        The text is data: a special token spelled out in it, such as "<|im_end|>", is encoded letter by
        letter, so that neither a question nor a tool's output can open or close a turn. A lone surrogate,
        which no byte sequence represents, becomes U+FFFD.
        """
        return self._plain.encode(_scalars(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on all cores."""
        texts = [_scalars(text) for text in texts]
        return [e.ids for e in self._plain.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of `ids`; control tokens are left out, or spelled out with `skip_special=False`.

        For people and scripts: what was sampled is trained on as ids, never re-encoded. Bytes that are not
        UTF-8 show as U+FFFD; ids that the vocabulary lacks show as nothing.
        """
        return self._plain.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @functools.cached_property
    def text_vocab_size(self) -> int:
        """One more than the largest id that `encode` gives: a model's embedding may have more rows, never fewer.

        Control tokens may lie beyond it, as Gemma 3's image token does for the models that see none.
        """
        ids = set(self.backend.get_vocab(with_added_tokens=True).values())
        return max(ids - set(self._specials), default=-1) + 1

    # Conversations

    def chat_text(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The conversation as the template writes it. Raises ValueError if the template refuses it."""
        messages = [_checked(message) for message in messages]
        try:
            return self._render(messages=messages, add_generation_prompt=add_generation_prompt)
        except jinja2.TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise UserError(f"the chat template refuses the roles [{roles}]: {error}") from error

    def chat_ids(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
        """Ids of a conversation, [{"role", "content"}], ready for the reply when `add_generation_prompt`.

        Equal to `apply_chat_template` of `transformers`, except that a control token spelled out in a
        message's content stays text. Raises ValueError for a message that is not role and text, or that the
        template refuses.
        """
        return self._markup_ids(messages, lambda masked: self.chat_text(masked, add_generation_prompt))

    def extend_ids(self, ids: Sequence[int], messages: Sequence[Message]) -> list[int]:
        """Ids that continue the conversation `ids` with `messages` and ask for the next reply.

        `ids` is the prompt and the sampled reply, the stop token included if one was sampled; the result
        begins with exactly these, whatever text they decode to. A reply cut by its length limit gets the end
        token appended; a stop token other than the template's own stands in for it.

        Raises ValueError if there is no message, or if the template's turns cannot be appended to one
        another.
        """
        if not len(ids) or not messages:
            raise UserError("extend_ids needs the ids of a conversation and at least one further message")
        end_id = self.end_id
        tail = self._markup_ids(messages, lambda masked: self._after_reply(1, masked))
        assert tail[0] == end_id, (tail, end_id)
        ids = [int(i) for i in ids]
        return ids + (tail[1:] if ids[-1] in self.stop_ids else tail)

    @functools.cached_property
    def rewrites_history(self) -> bool:
        """Whether the template shows a past turn otherwise than it was prompted and answered.

        Qwen3 with thinking off is such a one: it prompts with an empty thinking block, and leaves that out of past
        turns. The next call of such a conversation needs a fresh prompt (`chat_ids`); elsewhere `extend_ids` gives the
        same text without encoding anything anew.
        """
        dialogue = _sentinels(2)
        try:
            so_far = self.chat_text(dialogue[:1]) + dialogue[1]["content"] + self._after_reply(1, dialogue[2:3])
            return self.chat_text(dialogue[:3]) != so_far or self.end_id is None
        except ValueError:  # refuses such a dialogue, or has no glue that could be appended
            return True

    @functools.cached_property
    def end_id(self) -> int:
        """The token that the template writes after a reply.

        Raises ValueError unless what follows a reply is the same at any depth and begins with one control
        token.
        """
        follow_up = [{"role": "user", "content": "follow-up"}]
        tails = [self._after_reply(turns, follow_up) for turns in (1, 2)]
        if tails[0] != tails[1]:
            raise UserError(
                "the chat template writes different text after the first and the second reply, so that no "
                "conversation can be continued from its ids; use a template that only appends"
            )
        first = self.backend.encode(tails[0], add_special_tokens=False).ids[0]
        if first not in self._specials and first not in self.stop_ids:
            raise UserError(
                f"the chat template ends a reply with {self.backend.id_to_token(first)!r}, no control token; "
                "name it in eos_token_id of generation_config.json"
            )
        return first

    def _after_reply(self, turns: int, messages: Sequence[Message]) -> str:
        """What the template writes from the end of the last of `turns` sentinel replies on."""
        dialogue = _sentinels(turns)
        text = self.chat_text([*dialogue, *messages])
        _, found, tail = text.partition(dialogue[-1]["content"])
        if not found:
            raise UserError("the chat template does not write replies verbatim; use a template that does")
        return tail

    def _markup_ids(self, messages: Sequence[Message], render) -> list[int]:
        """Ids of `render(messages)` in which only the template's own control tokens are control tokens.

        Contents that spell one out are masked while the template runs, since templates trim and cut contents
        and encoding them apart from their surroundings would change the merges at their edges.
        """
        messages = [_checked(message) for message in messages]
        pattern = self._special_pattern
        contents = "".join(message["content"] for message in messages)
        spelled = sorted(set(pattern.findall(contents))) if pattern else []
        if not spelled:
            return self.backend.encode(render(messages), add_special_tokens=False).ids
        mark = next(c for c in map(chr, range(0xE000, 0xF900)) if c not in contents)
        masks = {f"{mark}{i}{mark}": token for i, token in enumerate(spelled)}
        names = {token: mask for mask, token in masks.items()}
        masked = [{**m, "content": pattern.sub(lambda found: names[found[0]], m["content"])} for m in messages]
        unmask = re.compile("|".join(masks))
        ids: list[int] = []
        for part in re.split(f"({pattern.pattern})", render(masked)):
            if pattern.fullmatch(part):
                ids.append(self._specials_by_text[part])
            elif part:
                part = unmask.sub(lambda found: masks[found[0]], part)
                ids += self._plain.encode(part, add_special_tokens=False).ids
        return ids

    @functools.cached_property
    def _render(self):
        if not self.template:
            raise UserError("this tokenizer has no chat template; put chat_template.jinja beside tokenizer.json")
        named = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
        tokens = {name: _content(self.config[name]) for name in named if self.config.get(name)}
        render = compile_template(self.template)
        return functools.partial(render, **{"tools": None, "documents": None, **tokens, **self.options})

    @functools.cached_property
    def _specials(self) -> dict[int, str]:
        added = self.backend.get_added_tokens_decoder()
        return {i: token.content for i, token in added.items() if token.special}

    @functools.cached_property
    def _specials_by_text(self) -> dict[str, int]:
        return {text: i for i, text in self._specials.items()}

    @functools.cached_property
    def _special_pattern(self) -> re.Pattern | None:
        longest_first = sorted(self._specials.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    @functools.cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """A second pipeline that reads control tokens as text: the switch is state, and threads share us."""
        plain = tokenizers.Tokenizer.from_str(self.backend.to_str())
        plain.encode_special_tokens = True
        return plain

    # Files

    def save(self, directory: str) -> None:
        """Writes Hugging Face's files: tokenizer.json, tokenizer_config.json, chat_template.jinja and
        generation_config.json (the stop ids). `transformers` and `from_directory` read them."""
        path = epath.Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        (path / "tokenizer.json").write_text(self.backend.to_str(pretty=True))
        (path / "tokenizer_config.json").write_text(json.dumps(dict(self.config), indent=2) + "\n")
        generation = _read_json(path / "generation_config.json")
        generation["eos_token_id"] = list(self.stop_ids)
        (path / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
        if self.template:
            (path / "chat_template.jinja").write_text(self.template)

    @classmethod
    def from_directory(cls, path: str) -> Tokenizer:
        """Reads a Hugging Face directory: its tokenizer.json, or without one its sentencepiece tokenizer.model.

        Stop ids are the union of `eos_token` (tokenizer_config.json) and `eos_token_id`
        (generation_config.json, config.json). Raises FileNotFoundError without either file, ValueError for a
        damaged one.
        """
        root = epath.Path(path)
        config = _read_json(root / "tokenizer_config.json")
        if (root / "tokenizer.json").exists():
            backend = _pipeline(root / "tokenizer.json")
        elif (root / "tokenizer.model").exists():
            backend = sentencepiece_file(root / "tokenizer.model", config.pop("added_tokens_decoder", None))
            config["tokenizer_class"] = "PreTrainedTokenizerFast"  # what reads the tokenizer.json that we save
        else:
            raise MissingFile(
                f"{root} has no tokenizer.json; write one with transformers' "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        template = config.pop("chat_template", None)
        if (root / "chat_template.jinja").exists():
            template = (root / "chat_template.jinja").read_text()
        elif (root / "chat_template.json").exists():  # of processors, which multimodal models have
            template = _read_json(root / "chat_template.json")["chat_template"]
        elif isinstance(template, list):
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
        stop_ids = set()
        for name in ("generation_config.json", "config.json"):
            eos = _read_json(root / name).get("eos_token_id")
            stop_ids |= set(eos if isinstance(eos, list) else [eos])
        if config.get("eos_token"):
            stop_ids.add(backend.token_to_id(_content(config["eos_token"])))
        return cls(_bare(backend), template, tuple(stop_ids - {None}), config)

    @classmethod
    def from_gguf(cls, reader) -> Tokenizer:
        """Builds the tokenizer that a GGUF file carries; `reader` is a `gguf.GGUFReader`.

        Raises ValueError for a tokenizer that is neither byte-level BPE with a known pre-tokenizer nor sentencepiece.
        """

        def field(name, default=None):
            found = reader.get_field(name)
            return default if found is None else found.contents()

        backend, tokens = gguf_pipeline(field), field("tokenizer.ggml.tokens")
        eos = field("tokenizer.ggml.eos_token_id")
        stop_ids = {eos, field("tokenizer.ggml.eot_token_id")} - {None}
        names = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
        ids = {token: field(f"tokenizer.ggml.{name}_token_id") for token, name in names.items()}
        special = {name: tokens[i] for name, i in ids.items() if i is not None}
        return cls(backend, field("tokenizer.chat_template"), tuple(stop_ids), _config(**special))

    # Our own

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        atoms: Sequence[str] = (),
    ) -> Tokenizer:
        """Learns a byte-level BPE with a compact chat template from `texts`, the same from the same texts.

        Every byte is a token, so any text survives encode and decode; digits stand alone, so that arithmetic
        is learnable at toy sizes.

        Args:
          vocab_size: of the result, an upper bound: a small corpus has few pairs to merge.
          special_tokens: control tokens beside the template's own.
          atoms: strings that are one token wherever ordinary text contains them (library boilerplate);
            leftmost, longest first.

        Raises ValueError if `vocab_size` cannot hold the bytes, control tokens and atoms, or for an atom that
        no decoder can give back.
        """
        specials = list(dict.fromkeys([PAD_TOKEN, END_TOKEN, *ROLE_TOKENS, *special_tokens]))
        atoms = list(dict.fromkeys(atoms))
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        smallest = len(specials) + len(alphabet) + len(atoms)
        if vocab_size < smallest:
            raise UserError(f"vocab_size={vocab_size} is too small: bytes, control tokens and atoms take {smallest}")
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = digits_and_bytes()
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - len(atoms),
            special_tokens=specials,
            initial_alphabet=alphabet,
            show_progress=False,
        )
        cut = re.compile("|".join(map(re.escape, sorted([*specials, *atoms], key=len, reverse=True))))
        backend.train_from_iterator((part for text in texts for part in cut.split(_scalars(text))), trainer)
        backend.add_tokens([AddedToken(atom, normalized=False) for atom in atoms])
        for atom in atoms:
            ids = backend.encode(atom, add_special_tokens=False).ids
            if len(ids) != 1 or backend.decode(ids) != atom or _swallows(atom, specials):
                raise UserError(
                    f"{atom!r} cannot be one token; use ASCII text that holds no control token and ends with no "
                    "beginning of one"
                )
        return cls(backend, COMPACT_TEMPLATE, (), _config(eos_token=END_TOKEN, pad_token=PAD_TOKEN))

    @classmethod
    def byte_level(cls, vocab_size: int | None = None) -> Tokenizer:
        """The tokenizer that knows bytes and the compact chat template: for models that read nothing yet.

        With `vocab_size` the rest is filled with reserved tokens that text never produces, so that every id a
        model can sample decodes. Raises ValueError if `vocab_size` is too small for the bytes.
        """
        specials = (PAD_TOKEN, END_TOKEN, *ROLE_TOKENS)
        tokens = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
        if vocab_size is not None and vocab_size < len(tokens):
            raise UserError(f"vocab_size={vocab_size} is too small: bytes and control tokens take {len(tokens)}")
        tokens += [f"<|reserved_{i}|>" for i in range(len(tokens), vocab_size or 0)]
        backend = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
        backend.pre_tokenizer = digits_and_bytes()
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens(list(specials))
        return cls(backend, COMPACT_TEMPLATE, (), _config(eos_token=END_TOKEN, pad_token=PAD_TOKEN))


def _sentinels(turns: int) -> list[dict[str, str]]:
    """A dialogue whose texts no template has."""
    return [
        {"role": role, "content": f"sentinel {kind} {turn}"}
        for turn in range(turns)
        for role, kind in (("user", "question"), ("assistant", "reply"))
    ]


def _swallows(atom: str, specials: Sequence[str]) -> bool:
    """Whether `atom`, matched leftmost, could hide a control token that begins within it or right at its start."""
    tails = [atom[start:] for start in range(1, len(atom))]
    return any(
        atom.startswith(special) or any(tail.startswith(special) or special.startswith(tail) for tail in tails)
        for special in specials
    )


def _config(**special: str) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(1e30),
        **special,
    }


def _bare(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Without the padding and truncation that a tokenizer.json may ask for."""
    backend.no_padding()
    backend.no_truncation()
    return backend


def _content(token: str | Mapping[str, Any]) -> str:
    """tokenizer_config.json spells a token as its text or as an object with `content`."""
    return token if isinstance(token, str) else token["content"]


def _read_json(path: epath.Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _pipeline(path: epath.Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(path.read_text())
    except Exception as error:  # the library raises no narrower kind
        raise UserError(f"{path} is not a tokenizer ({error}); fetch it again") from error


def _scalars(text: str) -> str:
    """`text` with surrogate pairs joined and lone ones replaced: scripts make strings that UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _checked(message: Message) -> dict[str, str]:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        raise UserError(f"a message is {{'role': text, 'content': text}}, not {dict(message)!r}")
    return {**message, "content": _scalars(content)}
