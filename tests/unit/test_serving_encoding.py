"""The service's embeddings: what the language model makes of questions, and what is known without it."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import FINGERPRINT, bundle_config, encoded, flip_byte, questions, tiny_config, write_store

from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import BundleError, EmbeddingError, QuestionTooLongError
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.model.texts import Slate
from gpo_ray.preferences.labels import slate_key
from gpo_ray.serving.inference.encoding import EmbeddingCache, EncodedSlate, LoadedEncoder

ASKED = questions(7)
WRITTEN = encoded(ASKED)
CONFIG = bundle_config(tiny_config())
SLATES = [
    Slate(prompt="Shall we?", responses=("Yes", "No")),
    Slate(prompt="How often do you read?", responses=("Daily", "Weekly", "Less often")),
    Slate(prompt="Who should decide?", responses=("The town", "Everyone")),
]
LONG = Slate(prompt="word " * 200, responses=("Yes", "No"))


@pytest.fixture(scope="module")
def config(tiny_language_model):
    model = tiny_config().model.model_copy(update={"pooling": "last+mean+opinion+person"})
    return CONFIG.model_copy(
        update={
            "embedding_fingerprint": fingerprint(find_model(str(tiny_language_model)), "float32"),
            "embedding_model": str(tiny_language_model),
            "embedding_width": 64,
            "model": model,
        }
    )


@pytest.fixture
def encoder(config):
    return LoadedEncoder(None, config)


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store", ASKED, shards=3)


def open_cache(store, capacity=100, config=CONFIG):
    return EmbeddingCache(store.folder.uri, config, capacity)


def counts(cache):
    return cache.hits, cache.store_hits, cache.misses


def keys(*numbers):
    return [ASKED[i].slate_key for i in numbers]


def assert_as_written(found, *numbers):
    assert set(found) == set(keys(*numbers))
    for i in numbers:
        slate = found[ASKED[i].slate_key]
        assert slate.key == ASKED[i].slate_key
        assert slate.vectors.dtype == np.float32
        np.testing.assert_array_equal(slate.vectors, WRITTEN[i].mean)
        np.testing.assert_array_equal(slate.letter_logprob, WRITTEN[i].letter_logprob)


def assert_same(slate, expected, pooling="last+mean+opinion+person"):
    np.testing.assert_allclose(slate.vectors, expected.pooled(pooling), atol=1e-5)
    np.testing.assert_allclose(slate.letter_logprob, expected.letter_logprob, atol=1e-5)
    assert slate.vectors.dtype == np.float32


def test_questions_are_encoded_in_the_bundles_pooling(encoder, config):
    plain = Encoder(find_model(config.embedding_model))
    for slate, found in zip(SLATES, encoder.encode(SLATES), strict=True):
        assert found.key == slate_key(slate.prompt, slate.responses)
        assert found.vectors.shape == (len(slate.responses), 64)
        assert_same(found, plain.encode([(slate.prompt, slate.responses)])[0])


def test_a_repeated_question_is_encoded_once(encoder):
    found = encoder.encode([SLATES[0], SLATES[1], SLATES[0]])
    assert found[0] is found[2] is not found[1]
    assert encoder.encoded == 2


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_question_too_long_fails_alone(encoder, place):
    asked = [*SLATES[:place], LONG, *SLATES[place:]]
    found = encoder.encode(asked)
    assert isinstance(found[place], EmbeddingError)
    assert "'word word" in str(found[place])
    assert "tokens, the model reads at most 512" in str(found[place])
    alone = [encoder.encode([s])[0] for s in SLATES]
    for a, b in zip(alone, [f for i, f in enumerate(found) if i != place], strict=True):
        np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-5)


def test_nothing_to_encode(encoder):
    assert encoder.encode([]) == []
    assert [type(e) for e in encoder.encode([LONG])] == [QuestionTooLongError]
    assert encoder.encoded == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embedding_fingerprint": FINGERPRINT}, rf"b: was trained on embeddings of {FINGERPRINT}, not of"),
        ({"embedding_dtype": "bfloat16"}, "not of tiny-chat@.*/bfloat16"),
        ({"embedding_template": "other"}, "b: was trained with template other, not survey-v1"),
    ],
)
def test_another_model_or_template_than_the_bundles_is_refused(config, changes, words):
    with pytest.raises(BundleError, match=words):
        LoadedEncoder(None, config.model_copy(update=changes), "b")


def test_a_missing_model_is_named(config):
    with pytest.raises(EmbeddingError, match="/nowhere"):
        LoadedEncoder("/nowhere", config)


@pytest.mark.parametrize("capacity", [1, 3, 7, 100])
def test_what_the_store_holds_is_found_whatever_the_capacity(store, capacity):
    cache = open_cache(store, capacity)
    for numbers in ([0, 1, 2, 3, 4, 5, 6], [6, 0], [3]):
        assert_as_written(cache.get_many(keys(*numbers)), *numbers)
    assert cache.misses == 0
    assert cache.hits + cache.store_hits == 10
    assert (cache.store_hits == 0) == (capacity >= 7)


def test_hits_and_misses_are_counted(store):
    cache = open_cache(store, 7)
    assert counts(cache) == (0, 0, 0)
    found = cache.get_many([*keys(0, 1), "unknown", *keys(0)])
    assert_as_written(found, 0, 1)
    assert counts(cache) == (2, 0, 1)
    assert cache.get_many([]) == {}
    assert counts(cache) == (2, 0, 1)


def test_without_a_store_only_what_was_put_is_known():
    cache = EmbeddingCache(None, CONFIG, 2)
    assert cache.get_many(["a"]) == {}
    a, b, c = (EncodedSlate(k, np.zeros((2, 6), np.float32), np.zeros(2, np.float32)) for k in "abc")
    cache.put([a, b])
    assert cache.get_many(["a"]) == {"a": a}
    cache.put([c])  # b was not used for longest
    assert cache.get_many(["a", "b", "c"]) == {"a": a, "c": c}
    assert counts(cache) == (3, 0, 2)


def test_memory_bounds_what_is_kept_too():
    slates = [EncodedSlate(k, np.zeros((2, 6), np.float32), np.zeros(2, np.float32)) for k in "abc"]
    each = slates[0].nbytes
    assert each == 4 * (12 + 2)
    cache = EmbeddingCache(None, CONFIG, 1000, 2 * each)
    cache.put(slates)
    assert set(cache.get_many("abc")) == {"b", "c"}
    small = EmbeddingCache(None, CONFIG, 1000, each - 1)
    small.put(slates)
    assert small.get_many("abc") == {}


@given(
    capacity=st.integers(1, 9),
    asked=st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8),
)
def test_the_cache_never_gives_what_is_not_asked_and_never_loses_what_is_stored(
    tmp_path_factory, capacity, asked
):
    folder = tmp_path_factory.mktemp("store")
    cache = open_cache(write_store(folder, ASKED), capacity)
    for numbers in asked:
        names = [ASKED[i].slate_key if i < 7 else f"unknown {i}" for i in numbers]
        assert_as_written(cache.get_many(names), *{i for i in numbers if i < 7})
    distinct = [set(numbers) for numbers in asked]
    assert cache.misses == sum(i >= 7 for numbers in distinct for i in numbers)
    assert cache.hits + cache.store_hits == sum(i < 7 for numbers in distinct for i in numbers)


def test_an_evicted_question_does_not_stay_in_memory(store):
    for slate in open_cache(store).get_many(keys(*range(7))).values():
        assert slate.vectors.base is None
        assert slate.letter_logprob.base is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embedding_fingerprint": "x@1"}, f"fingerprint {FINGERPRINT}, the bundle needs x@1"),
        ({"embedding_template": "other"}, "template survey-v1, the bundle needs other"),
        ({"embedding_width": 12}, "width 6, the bundle needs 12"),
    ],
)
def test_a_store_of_other_embeddings_is_refused(store, changes, words):
    with pytest.raises(EmbeddingError, match=words):
        open_cache(store, config=CONFIG.model_copy(update=changes))


def test_a_damaged_or_incomplete_store_is_refused(store, tmp_path):
    shard = next(store.folder.local_path.glob("shard-*"))
    flip_byte(shard)
    with pytest.raises(EmbeddingError, match=f"{shard.name}: does not match its manifest"):
        open_cache(store)
    with pytest.raises(EmbeddingError, match="no such folder"):
        EmbeddingCache(tmp_path / "nowhere", CONFIG, 5)


def test_a_shard_damaged_later_leaves_its_questions_to_the_language_model(store, caplog):
    cache = open_cache(store, 1)
    shard = next(store.folder.local_path.glob("shard-*"))
    flip_byte(shard)
    with caplog.at_level(logging.WARNING):
        found = cache.get_many(keys(*range(7)))
        again = cache.get_many(keys(*range(7)))
    assert 0 < len(found) < 7
    assert set(again) <= set(found)
    assert [shard.name in r.message for r in caplog.records] == [True]


def test_known_questions_never_reach_the_language_model(encoder, config, tmp_path):
    """A real store made by the same language model, and a service's way through the cache."""
    plain = Encoder(find_model(config.embedding_model))
    store = EmbeddingStore(tmp_path)
    asked = ASKED[:4]
    written = plain.encode([(q.prompt, q.responses) for q in asked])
    name, entry = store.write_shard(asked, written, config.embedding_fingerprint)
    store.commit(config.embedding_fingerprint, {name: entry})
    for capacity in (2, 10):
        cache = EmbeddingCache(tmp_path, config, capacity)
        before = encoder.encoded

        def embed(slates, cache=cache):
            names = [slate_key(s.prompt, s.responses) for s in slates]
            found = cache.get_many(names)
            new = encoder.encode([s for s, k in zip(slates, names, strict=True) if k not in found])
            cache.put(new)
            return [(found | {e.key: e for e in new})[k] for k in names]

        known = [Slate(prompt=q.prompt, responses=q.responses) for q in asked]
        for _ in range(2):
            for slate, expected in zip(embed(known), written, strict=True):
                assert_same(slate, expected)
        assert encoder.encoded == before
        embed([known[0], SLATES[0]])
        assert encoder.encoded == before + 1
        embed([SLATES[0]])
        assert encoder.encoded == before + 1
