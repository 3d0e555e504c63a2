"""Tokenizer pipelines from files: tokenizer.json, GGUF and sentencepiece.

GGUF and sentencepiece files store a vocabulary and name an algorithm; the rest is known by convention and written down
here. The result is the pipeline that a `tokenizer.json` of the same model holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tokenizers
from etils import epath
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from mxjax.errors import MissingFile, UserError
from mxjax.files import read_json, reading

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # kinds of pieces, alike in both formats
SPACE = "▁"  # how sentencepiece writes a space

_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_WORDS = _QWEN_WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


MAX_FILE_BYTES = 1 << 28
MAX_PIECE = 512  # characters of a piece that is looked for in all its parts
MAX_PATTERN = 4096  # characters of a regular expression


def directory_parts(root: epath.Path) -> tuple[tokenizers.Tokenizer, str | None, tuple[int, ...], dict[str, Any]]:
    """The parts of a tokenizer in a Hugging Face directory.

    Returns pipeline, chat template, stop ids and tokenizer_config.json. Raises FileNotFoundError without tokenizer.json
    and tokenizer.model, ValueError for a damaged file.
    """
    config = read_if_there(root / "tokenizer_config.json")
    if (root / "tokenizer.json").exists():
        backend = pipeline_file(root / "tokenizer.json")
    elif (root / "tokenizer.model").exists():
        backend = sentencepiece_file(root / "tokenizer.model", config.pop("added_tokens_decoder", None))
        config["tokenizer_class"] = "PreTrainedTokenizerFast"  # what reads the tokenizer.json that we save
    else:
        raise MissingFile(
            f"{root} has no tokenizer.json; write one with transformers' "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    backend.no_padding()
    backend.no_truncation()
    with reading(root / "tokenizer_config.json"):
        template = config.pop("chat_template", None)
        if isinstance(template, list):
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
        eos = backend.token_to_id(content_of(config["eos_token"])) if config.get("eos_token") else None
    if (root / "chat_template.jinja").exists():
        with reading(root / "chat_template.jinja"):
            template = (root / "chat_template.jinja").read_text()
    elif (root / "chat_template.json").exists():  # of processors, which multimodal models have
        template = read_if_there(root / "chat_template.json").get("chat_template")
    stop_ids = {eos} | {i for name in ("generation_config.json", "config.json") for i in _stops(root / name)}
    return backend, template, tuple({i for i in stop_ids if i is not None}), config


def read_if_there(path: epath.Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is none."""
    return read_json(path) if path.exists() else {}


def content_of(token: str | Mapping[str, Any]) -> str:
    """A token's text, which tokenizer_config.json may give as an object's `content`."""
    return token if isinstance(token, str) else token["content"]


def _stops(path: epath.Path) -> list[int]:
    """`eos_token_id` of a file, which is one id, several or none."""
    eos = read_if_there(path).get("eos_token_id")
    stops = eos if isinstance(eos, list) else [] if eos is None else [eos]
    if wrong := [token for token in stops if type(token) is not int]:
        raise UserError(f"{path} names {wrong[0]!r} as eos_token_id, which is no id")
    return stops


def pipeline_file(path: epath.Path) -> tokenizers.Tokenizer:
    """The pipeline of a tokenizer.json.

    Raises ValueError for a damaged file, for one of over 256 MiB, and for one whose ids would depend on chance or whose
    regular expressions could take forever.
    """
    if path.stat().length > MAX_FILE_BYTES:
        raise UserError(f"{path} has {path.stat().length} bytes, which no tokenizer has")
    with reading(path):
        text = path.read_text()
        state = json.loads(text)
        if not isinstance(state, dict):
            raise UserError("is not a tokenizer (no JSON object); fetch it again")
        for key, value in _leaves({**state, "model": None}):
            if key == "Regex":
                _check_pattern(value)
        if (state.get("model") or {}).get("dropout"):
            raise UserError("sets dropout, with which the same text has other ids each time; set it to null")
        try:
            return tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises no narrower kind
            raise UserError(f"{path} is not a tokenizer ({error}); fetch it again") from error


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every (key, value) below `value` that is neither object nor list."""
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else ((key, item) for item in value):
            yield from _leaves(item, name)
    else:
        yield key, value


def _check_pattern(pattern: str) -> None:
    """Raise ValueError for a regular expression that may take exponential time.

    That is one with a repeated group that has choices.
    """
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise UserError(f"has a regular expression that is no text of at most {MAX_PATTERN} characters")
    choices, at = [False], 0  # of each open group, whether something in it can match in more than one way
    while at < len(pattern):
        character, after = pattern[at], at + 1
        if character == "\\":
            if pattern[at + 1 : at + 2].isdigit() or pattern[at + 1 : at + 3] in ("k<", "g<"):
                raise UserError(f"has a regular expression that refers back, which is not supported: {pattern!r}")
            after += 1
        elif character == "[":
            after, depth = at + 1, 1
            while after < len(pattern) and depth:
                depth += {"[": 1, "]": -1}.get(pattern[after], 0)
                after += 2 if pattern[after] == "\\" else 1
        elif character == "(":
            choices.append(False)
            after += pattern[after : after + 1] == "?"
        elif character == ")" and len(choices) > 1:
            inner = choices.pop()
            again = pattern[after : after + 1] in ("*", "+", "{")
            if inner and again:
                raise UserError(f"has a regular expression that repeats what has choices: {pattern!r}")
            choices[-1] = choices[-1] or inner or again
        elif character in "*+?|{":
            choices[-1] = True
        at = after


def digits_and_bytes() -> pre_tokenizers.PreTokenizer:
    """Digits alone, then words as GPT-2 cuts them, as bytes."""
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])


def _words_and_bytes(words: str) -> pre_tokenizers.PreTokenizer:
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), behavior="isolated"), as_bytes])


# `tokenizer.ggml.pre` → (normalizer, pre-tokenizer, whether a word of the vocabulary is taken whole, without merging).
_BYTE_LEVEL = {
    "smollm": lambda: (None, digits_and_bytes(), False),
    "gpt-2": lambda: (None, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), False),
    "qwen2": lambda: (normalizers.NFC(), _words_and_bytes(_QWEN_WORDS), False),
    "llama-bpe": lambda: (None, _words_and_bytes(_LLAMA3_WORDS), True),
}
_SAME = {"deepseek-r1-qwen": "qwen2", "llama3": "llama-bpe", "llama-v3": "llama-bpe"}


def gguf_pipeline(field: Callable) -> tokenizers.Tokenizer:
    """The pipeline of a GGUF file; `field(name, default=None)` reads its metadata.

    Raises ValueError for a tokenizer that is neither byte-level BPE with a known pre-tokenizer nor sentencepiece BPE.
    """
    kind, pre = field("tokenizer.ggml.model"), field("tokenizer.ggml.pre", "")
    tokens, kinds = field("tokenizer.ggml.tokens", ()), field("tokenizer.ggml.token_type", ())
    if kind == "llama":
        add_prefix = field("tokenizer.ggml.add_space_prefix", True)
        return sentencepiece_pipeline(tokens, field("tokenizer.ggml.scores"), kinds, bool(add_prefix))
    pre = _SAME.get(pre, pre)
    if kind != "gpt2" or pre not in _BYTE_LEVEL:
        raise UserError(
            f"GGUF tokenizer {kind!r} with pre-tokenizer {pre!r} is not supported (sentencepiece, or byte-level BPE "
            f"with one of: {', '.join([*_BYTE_LEVEL, *_SAME])}); load the model's Hugging Face directory instead"
        )
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges", ())]
    normalizer, pre_tokenizer, whole_words = _BYTE_LEVEL[pre]()
    vocab = {token: index for index, token in enumerate(tokens)}
    pipeline = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=whole_words))
    if normalizer:
        pipeline.normalizer = normalizer
    pipeline.pre_tokenizer, pipeline.decoder = pre_tokenizer, decoders.ByteLevel()
    _add(pipeline, [AddedToken(t, normalized=False, special=True) for t, k in zip(tokens, kinds) if k == CONTROL])
    _add(pipeline, [AddedToken(t, normalized=False) for t, k in zip(tokens, kinds) if k == USER_DEFINED])
    return pipeline


def sentencepiece_file(path: epath.Path, added: Mapping[str, Mapping] | None = None) -> tokenizers.Tokenizer:
    """The pipeline of a sentencepiece model (`tokenizer.model`).

    `added` is `added_tokens_decoder` of tokenizer_config.json: ids → tokens that the model file lacks, or holds without
    saying that they are control tokens. Raises ValueError for a file that is no sentencepiece model, or not a BPE one.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]  # protobuf makes it at import
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, RecursionError) as error:
        raise UserError(f"{path} is not a sentencepiece model ({error})") from error
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    if trainer.model_type != trainer.BPE:
        kind = trainer.ModelType.Name(trainer.model_type)
        raise UserError(
            f"{path} is a sentencepiece model of type {kind}, of which BPE alone is supported; write a tokenizer.json "
            "with transformers' AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    with reading(path):
        tokens, scores, kinds = ([getattr(p, name) for p in model.pieces] for name in ("piece", "score", "type"))
        pipeline = sentencepiece_pipeline(
            tokens,
            scores,
            kinds,
            add_prefix_space=normalizer.add_dummy_prefix,
            charsmap=normalizer.precompiled_charsmap,
            remove_extra_whitespaces=normalizer.remove_extra_whitespaces,
        )
        for _, token in sorted((added or {}).items(), key=lambda item: int(item[0])):
            _add(pipeline, [AddedToken(token["content"], normalized=False, special=token.get("special", False))])
    return pipeline


def sentencepiece_pipeline(
    tokens: Sequence[str],
    scores: Sequence[float],
    kinds: Sequence[int],
    add_prefix_space: bool,
    charsmap: bytes = b"",
    remove_extra_whitespaces: bool = False,
) -> tokenizers.Tokenizer:
    """A sentencepiece BPE of these pieces.

    The pair whose joined piece has the highest score merges first. `add_prefix_space` puts a space before a text and
    after each token that stands for itself, as Llama 2 has it.
    """
    vocab = {token: index for index, token in enumerate(tokens)}
    joined = {t: score for t, score, kind in zip(tokens, scores, kinds) if kind in (NORMAL, USER_DEFINED, UNUSED)}
    merges = sorted(_pairs(joined), key=lambda pair: (-joined["".join(pair)], -len(pair[0]), -len(pair[1])))
    unknown = next((token for token, kind in zip(tokens, kinds) if kind == UNKNOWN), None)
    bpe = models.BPE(vocab=vocab, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=BYTE in kinds)
    pipeline = tokenizers.Tokenizer(bpe)
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(charsmap)] if charsmap else []
    if remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    steps += [normalizers.Prepend(SPACE)] if add_prefix_space else []
    pipeline.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    back = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    pipeline.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if add_prefix_space else back)
    _add(pipeline, [AddedToken(t, normalized=False, special=True) for t, k in zip(tokens, kinds) if k == CONTROL])
    # Such a piece is one token wherever it stands. One of spaces is looked for where they are written as SPACE.
    after = lambda token: SPACE in token and not add_prefix_space
    _add(pipeline, [AddedToken(t, normalized=after(t)) for t, k in zip(tokens, kinds) if k == USER_DEFINED])
    return pipeline


def _pairs(pieces: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Every way to join two pieces into a third.

    Raises ValueError for a piece that is not part of a word.
    """
    for piece in pieces:
        if len(piece) > MAX_PIECE:
            raise UserError(f"its vocabulary has a piece of {len(piece)} characters")
        for cut in range(1, len(piece)):
            if piece[:cut] in pieces and piece[cut:] in pieces:
                yield piece[:cut], piece[cut:]


def _add(pipeline: tokenizers.Tokenizer, tokens: Sequence[AddedToken]) -> None:
    pipeline.add_tokens(list(tokens))
