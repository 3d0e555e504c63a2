"""Files made to hurt: each is loaded or refused in one sentence that names it, soon and in little memory."""

import json
import pathlib
import random
import resource
import shutil
import signal
import struct
import time

import numpy as np
import pytest
import safetensors.numpy
from test_io import LLAMA, QWEN, make_policy, write_gguf, write_workdir
from test_tokenizer import Pieces

from mxjax import cli
from mxjax.models import io
from mxjax.models.config import RopeScaling
from mxjax.models.headers import read_headers
from mxjax.models.tokenizer import Tokenizer

SMALL = LLAMA.replace(num_hidden_layers=1, hidden_size=32, intermediate_size=32, num_attention_heads=2, head_dim=16)
TIED = SMALL.replace(tie_word_embeddings=True)
CONTROL = "<|im_end|>"


@pytest.fixture
def model(tmp_path):
    """A directory that loads."""
    io.save_hf(make_policy(TIED), tmp_path / "model")
    return tmp_path / "model"


def change(file, **values):
    """Writes a JSON file anew with other values."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def refused(source, *said):
    """The sentence that `load` refuses a source with."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        io.load(source)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 1500
    for part in said:
        assert part in text, (part, text)
    return text


def beyond(rows):
    """A tokenizer whose template ends turns with a token that an embedding of `rows` has no row for."""
    tokenizer = Tokenizer.byte_level(rows)
    tokenizer.backend.add_special_tokens([CONTROL])
    template = "{% for m in messages %}{{ m.role + m.content + '<|im_end|>' }}{% endfor %}"
    return Tokenizer(tokenizer.backend, template, (), tokenizer.config)


def test_ids_beyond_the_embedding_are_refused_from_every_source(model, tmp_path):
    tokenizer = beyond(300)
    said = (repr(CONTROL), "id 300", "300 rows")
    tokenizer.save(model)
    refused(model, str(model), *said)
    assert CONTROL in read_headers(model).fault
    policy = make_policy(SMALL)
    write_workdir(tmp_path / "run", {"shared": policy})
    tokenizer.save(tmp_path / "run" / "tokenizer")
    refused(tmp_path / "run", *said)
    write_gguf(tmp_path / "model.gguf", io.Policy(policy.params, policy.config, tokenizer))
    refused(tmp_path / "model.gguf", *said)


def test_another_head_beside_tied_embeddings_is_refused(model):
    weights = model / "model.safetensors"
    tensors = safetensors.numpy.load_file(weights)
    embeddings = tensors["model.embed_tokens.weight"]
    safetensors.numpy.save_file({**tensors, "lm_head.weight": embeddings}, weights)
    assert io.load(model).config == TIED
    other = embeddings.copy()
    other[-1, -1] += 1
    for head in (other, other[:-1]):
        safetensors.numpy.save_file({**tensors, "lm_head.weight": head}, weights)
        refused(model, "ties its embeddings", "lm_head.weight that differs", "set tie_word_embeddings to false")
        assert "ties its embeddings" in read_headers(model).fault
    safetensors.numpy.save_file({**tensors, "lm_head.weight": other}, weights)
    change(model / "config.json", tie_word_embeddings=False)
    assert np.array_equal(io.load(model).params["lm_head"], other.T)
    safetensors.numpy.save_file(tensors, weights)
    refused(model, "lacks the tensor lm_head.weight")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scaling.factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"scaling.factor": 4.0, "scaling.type": "linear"}, RopeScaling("linear", 4.0)),
        ({"scale_linear": 2.0}, RopeScaling("linear", 2.0)),
        ({"scaling.factor": 4.0, "scaling.type": "none"}, None),
        ({"scaling.type": "linear"}, None),
        ({"scaling.factor": 0.0}, None),
        ({"scaling.factor": 4.0, "scaling.type": "longrope"}, "scales rotary positions (longrope)"),
        ({"scaling.factor": -4.0}, "must be positive"),
        ({"dimension_count": 8}, "rope.dimension_count to 8 with heads of 16"),
    ],
)
def test_rotary_scaling_of_gguf_files_is_that_of_llama_cpp(tmp_path, fields, expected):
    """llm_load_hparams: the type is linear unless it is given, the factor 1 where it is absent or 0."""

    def extra(writer):
        for name, value in fields.items():
            add = {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}[type(value)]
            add(f"llama.rope.{name}", value)

    write_gguf(tmp_path / "model.gguf", make_policy(SMALL), extra=extra)
    if isinstance(expected, str):
        refused(tmp_path / "model.gguf", expected)
    else:
        assert io.load(tmp_path / "model.gguf").config.rope_scaling == expected


def test_a_factor_that_hugging_faces_readers_ignore_is_refused(model):
    change(model / "config.json", rope_scaling={"factor": 4.0}, rope_parameters=None)
    refused(model, "sets a factor of rope_scaling without its rope_type")


STRANGE = [float("nan"), float("inf"), -1, 0, 10**9, 10**30, True, "8", [8], {"a": 1}, 1.5]


@pytest.mark.parametrize(
    "name", ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"]
)
def test_strange_settings_are_refused_before_anything_is_made_of_them(model, name):
    for value in STRANGE:
        change(model / "config.json", **{name: value})
        started = time.process_time()
        assert str(model) in refused(model)
        assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "[" * 100_000),
        ("config.json", '{"model_type": ["llama"]}'),
        ("config.json", '{"model_type": "gemma3", "text_config": [1]}'),
        ("config.json", "\udc80".encode("utf-8", "surrogatepass")),
        ("tokenizer_config.json", '{"eos_token": 5}'),
        ("tokenizer_config.json", '{"chat_template": [1]}'),
        ("tokenizer_config.json", '{"chat_template": [{"name": "default", "template": 5}]}'),
        ("chat_template.jinja", b"\xff\xfe\xff"),
        ("generation_config.json", '{"eos_token_id": "2"}'),
        ("generation_config.json", '{"eos_token_id": [true]}'),
        ("generation_config.json", '{"eos_token_id": -1}'),
        ("tokenizer.json", "[" * 100_000),
        ("tokenizer.json", "null"),
        ("model.safetensors", struct.pack("<Q", 2**60) + b"{}"),
        ("model.safetensors", struct.pack("<Q", 2) + b"{}"),
        ("model.safetensors", b""),
    ],
)
def test_damaged_files_are_named(model, file, text):
    if file == "tokenizer_config.json":
        (model / "chat_template.jinja").unlink()  # which counts where both are
    (model / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    if file == "chat_template.jinja":
        refused(model, "chat_template.jinja")
    else:
        refused(model, str(model))


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "a\\b.safetensors", 5, ["x"], "pickle.bin"]
)
def test_an_index_names_only_files_beside_it(model, name):
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    refused(model, "model.safetensors.index.json")


@pytest.mark.parametrize("weight_map", [[1], {}, None, "model.safetensors"])
def test_an_index_without_files_is_refused(model, weight_map):
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(model, "model.safetensors.index.json")


def test_a_link_to_the_weights_is_followed(model, tmp_path):
    """As the cache of the hub has them."""
    shutil.move(model / "model.safetensors", tmp_path / "blob")
    (model / "model.safetensors").symlink_to(tmp_path / "blob")
    assert io.load(model).config == TIED


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a+)+$", "repeats what has choices"),
        ("(?:a|b*)*c", "repeats what has choices"),
        ("((a{2,})){3}", "repeats what has choices"),
        ("(?:a|a)+$", "repeats what has choices"),
        ("(a?){50}a{50}", "repeats what has choices"),
        (r"(a)\1", "refers back"),
        ("[unclosed", "not a tokenizer"),
        ("a" * 5000, "no text of at most"),
        (r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}(+)\]]+[\r\n]*|\s+(?!\S)|\s+", None),
        (r"(?:ab){2}|\(+\)*|(x)?(y+)?", None),
    ],
)
def test_patterns_that_may_take_forever_are_refused(model, pattern, said):
    state = json.loads((model / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, state["pre_tokenizer"]]}
    (model / "tokenizer.json").write_text(json.dumps(state))
    if said:
        refused(model, "tokenizer.json", said)
    else:
        assert io.load(model).tokenizer.decode(io.load(model).tokenizer.encode("abab 12 (x)")) == "abab 12 (x)"


def test_a_pattern_that_takes_too_long_on_a_text_is_a_sentence(model):
    """The engine gives up by a panic, which is no Exception."""
    state = json.loads((model / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "a*" * 30 + "[bc]$"}, "behavior": "Isolated", "invert": False}
    (model / "tokenizer.json").write_text(json.dumps({**state, "pre_tokenizer": split}))
    tokenizer = io.load(model).tokenizer
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch([text])):
        with pytest.raises(ValueError, match=r"the tokenizer, on .* Regex search error"):
            encode("a" * 60 + "b!")


def test_ids_that_depend_on_chance_are_refused(model):
    state = json.loads((model / "tokenizer.json").read_text())
    state["model"]["dropout"] = 0.5
    (model / "tokenizer.json").write_text(json.dumps(state))
    refused(model, "tokenizer.json", "dropout")


def gguf_bytes(*fields, tensors=(), tail=b"", counts=None):
    """A header of fields (name, type, bytes) and tensors (name, dims, type, offset), byte by byte."""
    text = lambda name: struct.pack("<Q", len(name)) + name.encode()
    out = b"GGUF" + struct.pack("<IQQ", 3, *(counts or (len(tensors), len(fields))))
    for name, kind, value in fields:
        out += text(name) + struct.pack("<I", kind) + value
    for name, dims, kind, offset in tensors:
        out += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    return out + b"\0" * (-len(out) % 32) + tail


ARRAY, STRING, UINT8, UINT32 = 9, 8, 0, 4
HUGE = struct.pack("<Q", 2**60)
HEADERS = {
    "counts": (gguf_bytes(counts=(2**60, 2**60)), "fields and"),
    "tensors": (gguf_bytes(counts=(2**16, 0)), "ends within its header"),
    "array": (gguf_bytes(("a", ARRAY, struct.pack("<I", UINT8) + HUGE)), "elements"),
    "array over the end": (gguf_bytes(("a", ARRAY, struct.pack("<IQ", UINT8, 10**6))), "ends within"),
    "strings": (gguf_bytes(("a", ARRAY, struct.pack("<IQ", STRING, 10**6))), "ends within"),
    "string": (gguf_bytes(("a", STRING, HUGE)), "ends within"),
    "nested": (gguf_bytes(("a", ARRAY, struct.pack("<IQ", ARRAY, 1) * 9000)), "array of arrays"),
    "name": (gguf_bytes(("a" * 2000, UINT8, b"1")), "a name of 2000 bytes"),
    "kind": (gguf_bytes(("a", 99, b"1")), "99"),
    "alignment": (gguf_bytes(("general.alignment", UINT32, struct.pack("<I", 0))), "no power of two"),
    "odd alignment": (gguf_bytes(("general.alignment", UINT32, struct.pack("<I", 48))), "no power of two"),
    "alignment of text": (gguf_bytes(("general.alignment", STRING, struct.pack("<Q", 0))), "no power of two"),
    "dims": (gguf_bytes(tensors=[("t", [1] * 9, 0, 0)]), "has 9 dimensions"),
    "shape": (gguf_bytes(tensors=[("t", [2**40, 2**40], 0, 0)], tail=b"\0" * 64), "ends after the file"),
    "no size": (gguf_bytes(tensors=[("t", [0, 4], 0, 0)]), "shape"),
    "blocks": (gguf_bytes(tensors=[("t", [33], 3, 0)]), "in blocks of 32"),
    "type": (gguf_bytes(tensors=[("t", [4], 12345, 0)]), "unknown type 12345"),
    "offset": (gguf_bytes(tensors=[("t", [4], 0, 2**50)], tail=b"\0" * 64), "ends after the file"),
    "unaligned": (gguf_bytes(tensors=[("t", [4], 0, 7)], tail=b"\0" * 64), "not aligned"),
    "overlap": (gguf_bytes(tensors=[("t", [16], 0, 0), ("u", [4], 0, 32)], tail=b"\0" * 64), "t and u overlap"),
    "twice": (gguf_bytes(("a", UINT8, b"1"), ("a", UINT8, b"1")), "Duplicate"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version"),
    "architecture": (gguf_bytes(("general.architecture", UINT32, struct.pack("<I", 5))), "architecture 5"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_gguf_headers_are_checked_against_the_file(tmp_path, name):
    content, said = HEADERS[name]
    (tmp_path / "model.gguf").write_bytes(content)
    started = time.process_time()
    refused(tmp_path / "model.gguf", "model.gguf", said)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda writer: writer.add_bos_token_id(10**6), None),
        (lambda writer: writer.add_eot_token_id(10**6), "id 1000000"),
        (lambda writer: writer.add_token_merges(["nomerge"]), "model.gguf"),
        (lambda writer: writer.add_token_merges(["a nothing"]), "model.gguf"),
    ],
)
def test_strange_tokenizers_of_gguf_files(tmp_path, change, said):
    write_gguf(tmp_path / "model.gguf", make_policy(SMALL), extra=change)
    if said:
        refused(tmp_path / "model.gguf", said)
    else:
        io.load(tmp_path / "model.gguf")


def test_the_command_line_says_it_in_a_sentence_too(model, tmp_path, capsys):
    def fails(*arguments):
        assert cli.main([*map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "Traceback" not in said and not set(said) & set("\x1b\u202e")
        return said

    hostile = tmp_path / "model.gguf"
    hostile.write_bytes(HEADERS["array"][0])
    assert "elements" in fails("doctor", hostile)
    (model / "chat_template.jinja").write_text("{{ 'x' * 10**10 }}")
    assert "MiB of memory" in fails("solve", "1 + 1", "--checkpoint", model)
    (model / "chat_template.jinja").unlink()
    assert "no chat template" in fails("solve", "1 + 1", "--checkpoint", model)
    change(model / "config.json", model_type="\x1b[2J\u202e")
    assert "\\x1b[2J" in fails("convert", model, tmp_path / "out") and not (tmp_path / "out").exists()


# Thousands of mutants


class TooSlow(BaseException):
    """Not an Exception, so that nothing takes it for a damaged file."""


def mutate(rng, content):
    """`content` with a few bytes, numbers or pieces changed."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, kind = rng.randrange(len(data)), rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**31, 2**32 - 1, 2**60, 2**64 - 1)))
        elif kind == 2:
            del data[at : at + rng.choice((1, 3, 100, 10**6))]
        elif kind == 3:
            data[at:at] = data[rng.randrange(len(data)) :][: rng.choice((1, 10, 1000))]
        elif kind == 4:
            data[at:at] = rng.choice((b"null", b"[", b'"', b"-1", b"1e999", b"true", b"{}", b"\\u0000", b"\xff"))
        else:
            data[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 255, 2**16, 2**31, 2**32 - 1)))
        data = data or bytearray(b"x")
    return bytes(data)


def set_anywhere(rng, value):
    """A JSON value with one part of it replaced, dropped or put elsewhere."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(keys)
        made = value.copy()
        if rng.random() < 0.1:
            del made[key]
        else:
            made[key] = set_anywhere(rng, value[key])
        return made
    return rng.choice([*STRANGE, None, "", "x" * 10**5, [], {}, [[]] * 50, "\ud800", "<|end|>", -(2**63), 2**63, value])


def attempt(source):
    """Loads, or is refused; anything else is a failure."""
    try:
        if not read_headers(source).fault:
            io.load(source)
        return "loaded"
    except (ValueError, FileNotFoundError) as error:
        assert "\n" not in str(error) or "not JSON" in str(error), error
        return "refused"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gguf", "config", "tokenizer", "weights", "pieces"])
def test_thousands_of_mutants_are_loaded_or_refused(tmp_path, kind):
    policy = make_policy(QWEN.replace(num_hidden_layers=1, hidden_size=32, intermediate_size=32, vocab_size=420))
    io.save_hf(policy, tmp_path / "model")
    write_gguf(tmp_path / "model.gguf", policy)
    small = tmp_path / "model"
    files = {
        "gguf": [tmp_path / "model.gguf"],
        "config": [small / "config.json", small / "generation_config.json", small / "tokenizer_config.json"],
        "tokenizer": [small / "tokenizer.json"],
        "weights": [small / "model.safetensors"],
        "pieces": [small / "tokenizer.model"],
    }[kind]
    if kind == "pieces":
        for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
            (small / name).unlink()
        change(small / "config.json", eos_token_id=None)
        files[0].write_bytes(Pieces(add_dummy_prefix=True).proto)
    source = files[0] if kind == "gguf" else small
    originals = {file: file.read_bytes() for file in files}
    header = 12_000  # where what is interesting in a large file ends

    def late(*_):
        raise TooSlow

    outcomes, slowest, before = {"loaded": 0, "refused": 0}, 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    previous = signal.signal(signal.SIGALRM, late)
    try:
        for seed in range(1500):
            rng = random.Random(f"{kind} {seed}")
            file = rng.choice(files)
            content = originals[file]
            if file.suffix == ".json" and rng.random() < 0.6:
                mutant = json.dumps(set_anywhere(rng, json.loads(content))).encode()
            else:
                mutant = mutate(rng, content[:header]) + content[header:]
            pathlib.Path(file).write_bytes(mutant)
            signal.alarm(60)
            started = time.process_time()
            outcomes[attempt(source)] += 1
            slowest = max(slowest, time.process_time() - started)
            signal.alarm(0)
            file.write_bytes(content)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert outcomes["refused"] > 300 and outcomes["loaded"] > 20, outcomes
    assert slowest < 20 and grown < 2**20, (slowest, grown)  # kilobytes
