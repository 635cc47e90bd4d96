"""The encoder against the plain recipe: every prompt + response run alone, without a cache."""

import numpy as np
import pytest
import torch
from synthetic import questions
from tiny_model import save_tiny_model

from gpo_ray.embedding.encoder import POOLINGS, Encoder
from gpo_ray.embedding.template import (
    PROMPT_EOL,
    instruction,
    letter,
    opinion_ending,
    opinion_stem,
    response_text,
)
from gpo_ray.errors import EmbeddingError, QuestionTooLongError
from gpo_ray.lm.find import find_model
from gpo_ray.lm.prefix_tree import Text, common_prefix, plan_rows

# unlike lengths of prompts, slates and responses, and text outside ASCII
SLATES = [
    ("Short?", ("Yes", "No")),
    ("A question with a good many more words than the first one has?", ("A", "Rather long answer", "é")),
    ("Größe – 大きさ?", ("klein", "mittel", "groß", "weiß nicht")),
    *((q.prompt, q.responses) for q in questions(3)),
]


def assert_same(got, want, tolerance=1e-5):
    for g, w in zip(got, want, strict=True):
        for name in (*POOLINGS, "letter_logprob"):
            np.testing.assert_allclose(getattr(g, name), getattr(w, name), atol=tolerance, rtol=1e-4)


def plain_prompt(tokenizer, slate):
    text = instruction(*slate)
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    else:
        text += "\n"
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def plain_recipe(folder, slate):
    """Each pooling (R, E) and the letters' log-probabilities (R,), one text at a time."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    body = transformers.AutoModel.from_pretrained(folder).eval()
    whole = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = plain_prompt(tokenizer, slate)
    result = {name: [] for name in POOLINGS}
    with torch.inference_mode():
        for i, response in enumerate(slate[1]):
            answer = tokenizer(response_text(i, response), add_special_tokens=False)["input_ids"]
            hidden = body(torch.tensor([prompt + answer]), use_cache=False).last_hidden_state[0]
            result["mean"].append(hidden.mean(0).numpy())
            result["answer_mean"].append(hidden[len(prompt) :].mean(0).numpy())
            result["last"].append(hidden[-1].numpy())
            for reading in PROMPT_EOL:
                text = tokenizer(opinion_stem(slate[0]))["input_ids"]
                text += tokenizer(opinion_ending(response, reading), add_special_tokens=False)["input_ids"]
                result[reading].append(body(torch.tensor([text])).last_hidden_state[0, -1].numpy())
        logits = whole(torch.tensor([prompt])).logits[0, -1]
    letters = [tokenizer(letter(i), add_special_tokens=False)["input_ids"][0] for i in range(len(slate[1]))]
    result["letter_logprob"] = [v.item() for v in logits[letters].log_softmax(0)]
    return result


@pytest.fixture(scope="module")
def encoder(tiny_language_model):
    return Encoder(find_model(str(tiny_language_model)), device="cpu")


@pytest.fixture(scope="module")
def encoded(encoder):
    return encoder.encode(SLATES)


def check_against_plain(folder, **kwargs):
    got = Encoder(find_model(str(folder)), device="cpu", **kwargs).encode(SLATES)
    for slate, g in zip(SLATES, got, strict=True):
        for name, want in plain_recipe(folder, slate).items():
            np.testing.assert_allclose(getattr(g, name), want, atol=1e-5, rtol=1e-4, err_msg=name)


def test_chat_model_equals_the_plain_recipe(tiny_language_model):
    check_against_plain(tiny_language_model)


def test_base_model_without_chat_template_equals_the_plain_recipe(tiny_base_model):
    check_against_plain(tiny_base_model)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 512}),
        ("Qwen3Config", {"head_dim": 8}),
    ],
)
def test_other_architectures_equal_the_plain_recipe(tmp_path, architecture, changes):
    check_against_plain(save_tiny_model(tmp_path / "m", config_class=architecture, **changes))


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("BloomConfig", {"n_layer": 2, "n_head": 2}),  # distances come from a mask of its own
        ("MambaConfig", {"state_size": 4}),  # a state that all before went into
    ],
)
def test_models_that_cannot_read_trees_read_each_text_alone(tmp_path, caplog, architecture, changes):
    check_against_plain(save_tiny_model(tmp_path / "m", config_class=architecture, **changes))
    assert "it cannot share what texts begin with" in caplog.text


def test_models_that_can_do_not_warn(tiny_language_model, caplog):
    Encoder(find_model(str(tiny_language_model)), device="cpu")
    assert not caplog.records


def test_model_with_a_sliding_window_equals_the_plain_recipe(tmp_path):
    check_against_plain(save_tiny_model(tmp_path / "m", config_class="MistralConfig", sliding_window=32))


def test_model_with_a_sliding_window_is_exact_one_question_at_a_time(tmp_path):
    folder = save_tiny_model(tmp_path / "m", config_class="MistralConfig", sliding_window=32)
    check_against_plain(folder, batch_tokens=1)


def test_order_of_the_questions_does_not_matter(encoder, encoded):
    order = np.random.default_rng(0).permutation(len(SLATES))
    assert_same(encoder.encode([SLATES[i] for i in order]), [encoded[i] for i in order])


@pytest.mark.parametrize("batch_tokens", [1, 1000, 10**6])
def test_batching_does_not_matter(tiny_language_model, encoded, batch_tokens):
    other = Encoder(find_model(str(tiny_language_model)), device="cpu", batch_tokens=batch_tokens)
    assert_same(other.encode(SLATES), encoded)


def random_texts(count=60):
    """Some begin alike."""
    rng = np.random.default_rng(0)
    stems = [rng.integers(3, size=int(n)).tolist() for n in rng.integers(1, 40, count // 3)]
    prompts = [
        [7, 8, *stems[i % len(stems)], *rng.integers(3, size=rng.integers(1, 200))] for i in range(count)
    ]
    return [
        Text(p, [[i, *rng.integers(3, size=rng.integers(1, 9)).tolist()] for i in range(rng.integers(2, 6))])
        for p in prompts
    ]


@pytest.mark.parametrize("threads", [2, 3])
def test_rows_read_side_by_side_are_the_same(tiny_language_model, threads):
    encoder = Encoder(find_model(str(tiny_language_model)), batch_tokens=64)
    many = [(f"{i}: {prompt}", responses) for i in range(4) for prompt, responses in SLATES]
    alone = encoder.encode(many)
    torch.set_num_threads(threads)
    try:
        together = encoder.encode(many)
        assert torch.get_num_threads() == threads
        with pytest.raises(QuestionTooLongError):
            encoder.encode([("a word " * 5000, ["Yes", "No"])])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        for name in ("mean", "last", "opinion", "person", "letter_logprob"):
            assert np.allclose(getattr(one, name), getattr(other, name), atol=1e-5)


def test_batches_stay_within_their_tokens_and_hold_every_question_once(encoder):
    stem, batches = encoder.language_model.plan(random_texts())
    rows = [row for batch in batches for row in batch]
    assert stem == 2
    assert sorted(i for b in batches for row in b for i in row.texts) == list(range(60))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(row.ids) for row in batch) <= 4096
    assert 1 < len(batches) < len(rows)


@pytest.mark.parametrize("skip", [0, 2])
def test_rows_hold_every_text_once_and_what_it_sees_is_itself(skip):
    texts = random_texts()
    rows = plan_rows(texts, skip, 100)
    assert sorted(i for row in rows for i in row.texts) == list(range(60))
    for row in rows:
        assert len(row.texts) == 1 or len(row.ids) <= 100
        assert sum(row.added) == len(row.ids)
        seen, ids = row.visible(), np.array(row.ids)
        for number, ends in zip(row.texts, row.response_ends, strict=True):
            text = texts[number]
            for end, response in zip(ends, text.responses, strict=True):
                assert ids[seen[end]].tolist() == [*text.prompt[skip:], *response]
    assert common_prefix(texts) == 2
    tokens = sum(len(t.prompt) - skip + sum(map(len, t.responses)) for t in texts)
    assert sum(len(row.ids) for row in rows) < tokens


def test_vectors_are_float32_of_the_models_width(encoder, encoded):
    assert encoder.width == 16
    for slate, e in zip(SLATES, encoded, strict=True):
        for name in POOLINGS:
            assert getattr(e, name).shape == (len(slate[1]), 16)
            assert getattr(e, name).dtype == np.float32
        np.testing.assert_allclose(np.exp(e.letter_logprob).sum(), 1, rtol=1e-5)


def test_every_option_has_a_letter_of_its_own():
    letters = [letter(i) for i in range(20_000)]
    assert len(set(letters)) == len(letters)
    assert [letters[i] for i in (0, 25, 26, 701, 702, 18277, 18278)] == [
        "A",
        "Z",
        "AA",
        "ZZ",
        "AAA",
        "ZZZ",
        "AAAA",
    ]


@pytest.mark.parametrize("softcap", [None, 0.05])
def test_letters_are_the_same_whether_the_whole_vocabulary_is_asked_or_they_alone(
    encoder, encoded, monkeypatch, softcap
):
    lm = encoder.language_model
    monkeypatch.setattr(lm, "_softcap", softcap)
    alone = encoder.encode(SLATES)
    monkeypatch.setattr(lm, "_head", torch.nn.Sequential(lm.model.lm_head))
    monkeypatch.setattr(torch.nn.Sequential, "weight", lm.model.lm_head.weight, raising=False)
    assert_same(encoder.encode(SLATES), alone)
    same = all(np.allclose(a.letter_logprob, e.letter_logprob) for a, e in zip(alone, encoded, strict=True))
    assert same == (softcap is None)


def test_a_questions_tokens_are_those_of_the_prompt_once_and_every_response(encoder):
    for slate in SLATES:
        [e] = encoder.encode([slate])
        text, again = (
            *encoder.texts([slate]),
            *encoder.opinion_texts([slate]),
        )
        assert e.tokens == sum(map(distinct, ([text], [again])))


def test_tokens_that_questions_begin_with_count_once(encoder, encoded):
    texts = encoder.texts(SLATES)
    again = encoder.opinion_texts(SLATES)
    found = sum(e.tokens for e in encoded)
    assert distinct(texts) + distinct(again) <= found < sum(distinct([t]) for t in [*texts, *again])


def distinct(texts):
    """Tokens that have another beginning before them, or are others, than any before."""
    paths = [[*t.prompt, *r] for t in texts for r in t.responses]
    return len({tuple(p[: i + 1]) for p in paths for i in range(len(p))})


def test_without_the_readings_the_rest_is_the_same(tiny_language_model, encoder, encoded):
    plain = Encoder(find_model(str(tiny_language_model)), device="cpu", readings=False)
    for e, full in zip(plain.encode(SLATES), encoded, strict=True):
        assert [getattr(e, r) for r in PROMPT_EOL] == [None, None]
        assert 0 < e.tokens < full.tokens
        for name in ("mean", "answer_mean", "last", "letter_logprob"):
            np.testing.assert_array_equal(getattr(e, name), getattr(full, name))


def test_the_prompt_goes_through_the_models_chat_template(encoder, tiny_language_model):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_language_model)
    text = tokenizer.decode(encoder.texts(SLATES[:1])[0].prompt)
    assert text == f"<|user|>{instruction(*SLATES[0])}<|end|><|assistant|>"


def test_a_question_too_long_can_be_told_from_the_others(encoder):
    long = ("x" * 600, ("yes", "no"))
    found = encoder.encode_each([*SLATES[:2], long, SLATES[2]])
    assert [isinstance(e, EmbeddingError) for e in found] == [False, False, True, False]
    for e, want in zip([found[0], found[1], found[3]], encoder.encode(SLATES[:3]), strict=True):
        np.testing.assert_allclose(e.mean, want.mean, atol=1e-5)
        np.testing.assert_allclose(e.letter_logprob, want.letter_logprob, atol=1e-5)


def test_too_long_a_question_is_named(encoder):
    with pytest.raises(
        EmbeddingError, match=r"question 'x+ \[...\] x+': \d+ tokens, the model reads at most 512"
    ):
        encoder.encode([SLATES[0], ("x" * 400, ("Yes", "No" * 30))])


def test_half_precision_is_close_to_full(tiny_language_model, encoded):
    half = Encoder(find_model(str(tiny_language_model)), "bfloat16", device="cpu").encode(SLATES)
    for h, e in zip(half, encoded, strict=True):
        assert h.mean.dtype == np.float32
        assert 0 < np.abs(h.mean - e.mean).max() < 0.3


def test_nothing_to_encode(encoder):
    assert encoder.encode([]) == []
