"""Text to token ids and back, chat messages included, for one model.

Why not `transformers`: importing it is slow, it builds no tokenizer from GGUF without torch, and what a
reinforcement-learning run needs is narrower and stricter than its interface: text written by a model or a
tool must never turn into control tokens, and a conversation must continue from the exact ids that were
sampled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from etils import epath
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from mxjax.errors import UserError
from mxjax.files import reading
from mxjax.models.chat_template import compile_template, rendered
from mxjax.models.markup import markup_of, mask, one_of, unmask, with_spaces
from mxjax.models.template_process import RENDERER
from mxjax.models.tokenizer_files import content_of, digits_and_bytes, directory_parts, gguf_pipeline, read_if_there

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
        stop_ids = {operator.index(i) for i in self.stop_ids}
        if not isinstance(self.template, str | None):
            raise UserError(f"the chat template is no text but {self.template!r:.60}")
        if self.template:
            try:
                stop_ids.add(self.end_id)
            except ValueError:
                pass  # a template without separate turns still renders prompts; extend_ids will say so
        object.__setattr__(self, "stop_ids", tuple(sorted(stop_ids)))

    # Text

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text, with nothing added before or after.

        The text is data: a control token spelled out in it, such as "<|im_end|>", or markup such as "<think>" and
        "<tool_call>", is encoded letter by letter, so that neither a question nor a tool's output can open or close
        a turn, a thought or a call. A lone surrogate, which no byte sequence represents, becomes U+FFFD.
        """
        return _ids(self._letters, _scalars(text))

    def encode_reply(self, text: str) -> list[int]:
        """Ids of a model's own reply, its markup read as markup.

        None of them ends the turn.
        """
        return _ids(self._plain, _scalars(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on all cores."""
        texts = [_scalars(text) for text in texts]
        with reading(f"the tokenizer, on {len(texts)} texts"):
            return [e.ids for e in self._letters.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of `ids`, without control tokens unless `skip_special=False`.

        For people and scripts: what was sampled is trained on as ids, never re-encoded. Bytes that are not
        UTF-8 show as U+FFFD; ids that the vocabulary lacks show as nothing.
        """
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @functools.cached_property
    def text_vocab_size(self) -> int:
        """One more than the largest id that `encode` gives.

        A model's embedding may have more rows, never fewer. Control tokens may lie beyond it, as Gemma 3's image token
        does for models without vision.
        """
        ids = set(self.backend.get_vocab(with_added_tokens=True).values())
        return max(ids - set(self._specials), default=-1) + 1

    def check_rows(self, rows: int, origin: str) -> None:
        """Raise ValueError if an embedding of `rows` lacks a needed token.

        Needed are tokens of text, of the template and of stops; the message names one that is missing. Other control
        tokens may lie beyond the embedding, as Gemma 3's image token does.
        """
        if self.text_vocab_size > rows:
            raise UserError(
                f"the tokenizer of {origin!r} has {self.text_vocab_size} ids and the model only {rows} (text can give "
                f"{self._name(self.text_vocab_size - 1)}); they do not belong together"
            )
        written = [text for text in self._specials.values() if text in (self.template or "")]
        for turns in ("u", "su", "uau", "suau"):  # a template may also make a token's text out of parts
            roles = [{"s": "system", "u": "user", "a": "assistant"}[turn] for turn in turns]
            with contextlib.suppress(ValueError):  # refuses such a dialogue, or has no template
                written += self._control_pattern.findall(self._rendered([{"role": r, "content": ""} for r in roles]))
        reasons = {self._specials_by_text[text]: "its chat template writes" for text in written}
        reasons |= dict.fromkeys(self.stop_ids, "its replies stop at")
        for token, why in reasons.items():
            if not 0 <= token < rows:
                raise UserError(
                    f"the tokenizer of {origin!r} does not belong to the model: {why} {self._name(token)}, and the "
                    f"embedding has only {rows} rows"
                )

    def _name(self, token: int) -> str:
        return f"{self.backend.id_to_token(token) if 0 <= token < self.vocab_size else None!r}, id {token}"

    # Conversations

    def chat_text(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The conversation as the template writes it; ValueError if it refuses."""
        masked, masks = self._masked(messages)
        return unmask(self._rendered(masked, add_generation_prompt), masks)

    def chat_ids(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
        """Ids of a conversation, a list of {"role", "content"}.

        With `add_generation_prompt` they are ready for the reply.

        Equal to `apply_chat_template` of `transformers`, except that what a message spells out stays text: control
        tokens in any message, and markup such as "<think>" in all but those of the assistant, whose own it is, and of
        the system, which may show it. Raises ValueError for a message that is not role and text, or that the template
        refuses.
        """
        return self._markup_ids(messages, lambda masked: self._rendered(masked, add_generation_prompt))

    def check_turns(self) -> None:
        """Raise ValueError unless the template takes a system and a user turn.

        Every role is asked with these two.
        """
        self.chat_ids([{"role": "system", "content": "text"}, {"role": "user", "content": "text"}])

    def extend_ids(self, ids: Sequence[int], messages: Sequence[Message]) -> list[int]:
        """Continue the conversation `ids` with `messages` up to the next reply.

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
        """Whether the template renders past turns differently from the original prompt.

        Qwen3's does: with thinking off it prompts with an empty thinking block, and leaves that out of past turns; with
        thinking on it leaves out the thoughts of past replies. The next call of such a conversation needs a fresh
        prompt (`chat_ids`); elsewhere `extend_ids` gives the same text without encoding anything anew.
        """
        asked, plain, follow_up = _sentinels(2)[:3]
        thought = {**plain, "content": f"<think>\nsentinel thought\n</think>\n\n{plain['content']}"}
        try:
            prompt, tail = self._rendered([asked]), self._after_reply(1, [follow_up])
            shown = (
                self._rendered([asked, reply, follow_up]) == prompt + reply["content"] + tail
                for reply in (plain, thought)
            )
            return not all(shown) or self.end_id is None
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
        first = _ids(self.backend, tails[0])[0]
        if first not in self._specials and first not in self.stop_ids:
            raise UserError(
                f"the chat template ends a reply with {self.backend.id_to_token(first)!r}, no control token; "
                "name it in eos_token_id of generation_config.json"
            )
        return first

    def _after_reply(self, turns: int, messages: Sequence[Message]) -> str:
        """The template's text from the end of the last sentinel reply on.

        `turns` is the number of sentinel replies.
        """
        dialogue = _sentinels(turns)
        text = self._rendered([*dialogue, *messages])
        _, found, tail = text.partition(dialogue[-1]["content"])
        if not found:
            raise UserError("the chat template does not write replies verbatim; use a template that does")
        return tail

    def _markup_ids(self, messages: Sequence[Message], render) -> list[int]:
        """Ids of `render(messages)`, with the template's own markup alone as tokens.

        Contents that spell one out are masked while the template runs, since templates trim and cut contents
        and encoding them apart from their surroundings would change the merges at their edges.
        """
        masked, masks = self._masked(messages)
        text = render(masked)
        if not masks:
            return _ids(self.backend, text)
        ids: list[int] = []
        for part in re.split(f"({self._token_pattern.pattern})", text):
            if self._token_pattern.fullmatch(part) and (token := self._spelled_pattern.search(part)):
                ids.append(self._id_of(token[0]))
            elif part:
                ids += _ids(self._letters, unmask(part, masks))
        return ids

    def _masked(self, messages: Sequence[Message]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The messages with spelled-out tokens masked, and mask → its text."""
        may_show = dict.fromkeys(("system", "assistant"), self._control_pattern)
        checked = [_checked(message) for message in messages]
        return mask(checked, lambda role: may_show.get(role, self._spelled_pattern))

    def _rendered(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The template's output; ValueError if it refuses the messages."""
        if not self.template:
            raise UserError("this tokenizer has no chat template; put chat_template.jinja beside tokenizer.json")
        variables = {**self._variables, "messages": messages, "add_generation_prompt": add_generation_prompt}
        try:
            if self.template == COMPACT_TEMPLATE:  # our own
                return rendered(_compact(), variables)
            return _scalars(RENDERER.render(self.template, variables))
        except ValueError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise UserError(f"the chat template refuses the roles [{roles}]: {error}") from error

    @functools.cached_property
    def _variables(self) -> dict[str, Any]:
        named = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
        tokens = {name: content_of(self.config[name]) for name in named if self.config.get(name)}
        return {"tools": None, "documents": None, **tokens, **self.options}

    @functools.cached_property
    def _added(self) -> dict[int, AddedToken]:
        return self.backend.get_added_tokens_decoder()

    def _id_of(self, token: str) -> int:
        token_id = self.backend.token_to_id(token)
        assert token_id is not None, token
        return token_id

    @functools.cached_property
    def _specials(self) -> dict[int, str]:
        return {i: token.content for i, token in self._added.items() if token.special}

    @functools.cached_property
    def _specials_by_text(self) -> dict[str, int]:
        return {text: i for i, text in self._specials.items()}

    @functools.cached_property
    def _markup(self) -> frozenset[str]:
        words = None if self.template == COMPACT_TEMPLATE else self.backend.get_vocab(with_added_tokens=False)
        return markup_of(self._added.values(), self.template or "", words)

    @functools.cached_property
    def _control_pattern(self) -> re.Pattern:
        return one_of(self._specials.values())

    @functools.cached_property
    def _spelled_pattern(self) -> re.Pattern:
        return one_of([*self._markup, *self._specials.values()])

    @functools.cached_property
    def _token_pattern(self) -> re.Pattern:
        return with_spaces(token for token in self._added.values() if token.special or token.content in self._markup)

    @functools.cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """A second pipeline that reads control tokens as text.

        The switch is state of a pipeline, and threads share this tokenizer.
        """
        plain = tokenizers.Tokenizer.from_str(self.backend.to_str())
        plain.encode_special_tokens = True
        return plain

    @functools.cached_property
    def _letters(self) -> tokenizers.Tokenizer:
        """A third pipeline that reads markup as text too."""
        if not self._markup:
            return self._plain
        state = json.loads(self.backend.to_str())
        for token in state["added_tokens"]:
            token["special"] = token["special"] or token["content"] in self._markup
        letters = tokenizers.Tokenizer.from_str(json.dumps(state))
        letters.encode_special_tokens = True
        return letters

    # Files

    def save(self, directory: str) -> None:
        """Write the tokenizer as Hugging Face files.

        These are tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json (the stop ids).
        `transformers` and `from_directory` read them.
        """
        path = epath.Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        (path / "tokenizer.json").write_text(self.backend.to_str(pretty=True))
        (path / "tokenizer_config.json").write_text(json.dumps(dict(self.config), indent=2) + "\n")
        generation = read_if_there(path / "generation_config.json")
        generation["eos_token_id"] = list(self.stop_ids)
        (path / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
        if self.template:
            (path / "chat_template.jinja").write_text(self.template)

    @classmethod
    def from_directory(cls, path: str) -> Tokenizer:
        """Read a Hugging Face directory.

        It needs a tokenizer.json, or else a sentencepiece tokenizer.model. Stop ids are the union of `eos_token`
        (tokenizer_config.json) and `eos_token_id` (generation_config.json, config.json). Raises FileNotFoundError
        without either file, ValueError for a damaged one.
        """
        with reading(path):
            return cls(*directory_parts(epath.Path(path)))

    @classmethod
    def from_gguf(cls, reader, origin: str = "the GGUF file") -> Tokenizer:
        """Build the tokenizer that a GGUF file carries.

        `reader` is a `gguf.GGUFReader`, `origin` its name in errors.

        Raises ValueError for a tokenizer that is neither byte-level BPE with a known pre-tokenizer nor sentencepiece.
        """

        def field(name, default=None):
            found = reader.get_field(name)
            return default if found is None else found.contents()

        with reading(origin):
            backend, tokens = gguf_pipeline(field), field("tokenizer.ggml.tokens")
            eos = field("tokenizer.ggml.eos_token_id")
            stop_ids = {eos, field("tokenizer.ggml.eot_token_id")} - {None}
            names = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
            ids = {token: field(f"tokenizer.ggml.{name}_token_id") for token, name in names.items()}
            special = {name: tokens[i] for name, i in ids.items() if i is not None and 0 <= i < len(tokens)}
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
        """Learn a byte-level BPE with a compact chat template from `texts`.

        The same texts give the same tokenizer. Every byte is a token, so any text survives encode and decode; digits
        stand alone, so that arithmetic is learnable at toy sizes.

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
        """A tokenizer of bytes with the compact chat template.

        For models that are not yet trained. With `vocab_size` the rest is filled with reserved tokens that text never
        produces, so that every id a model can sample decodes. Raises ValueError if `vocab_size` is too small for the
        bytes.
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


@functools.cache
def _compact():
    return compile_template(COMPACT_TEMPLATE)


def _ids(pipeline: tokenizers.Tokenizer, text: str) -> list[int]:
    with reading(f"the tokenizer, on a text of {len(text)} characters"):
        return pipeline.encode(text, add_special_tokens=False).ids


def _swallows(atom: str, specials: Sequence[str]) -> bool:
    """Whether `atom`, matched leftmost, could hide a control token.

    The token may begin within the atom or right at its start.
    """
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


def _scalars(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates.

    Scripts can make strings that UTF-8 cannot hold.
    """
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
