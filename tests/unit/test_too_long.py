"""Questions that are too long for the language model: named before it is loaded, or left out."""

import json
import logging
from types import SimpleNamespace

import pytest
from synthetic import encoded, survey

from gpo_ray.embedding import job
from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.job import EmbedConfig, embed
from gpo_ray.embedding.lengths import too_long
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import EmbeddingError, QuestionTooLongError
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.lm.tokenizer import Tokenizer
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.join import join_surveys

LONG = {"q1": "Much? " * 400, "q3": "More? " * 90}


def with_long(count=5):
    """A survey in which the tiny model cannot read the questions ``LONG``; g4 answered only one of these."""
    asked = [
        Question(f"q{i}", "test", LONG.get(f"q{i}", f"Question {i}?"), ("Yes", "No")) for i in range(count)
    ]
    pairs = [(f"g{g}", q.question_id) for g in range(4) for q in asked] + [("g4", "q1")]
    rows = {"group_id": [g for g, _ in pairs], "question_id": [q for _, q in pairs]}
    rows["share"] = [[0.25, 0.75]] * len(pairs)
    return PreferenceDataset.build(asked, [Group(f"g{i}", "attribute") for i in range(5)], rows)


@pytest.fixture
def no_ray(monkeypatch):
    """Fail if Ray would be started."""

    def start(*_):
        raise AssertionError("Ray is started")

    monkeypatch.setattr(job, "told_session", start)


@pytest.fixture
def embedded(monkeypatch):
    """Replace the cluster: return the questions that would be embedded, with random vectors in the store."""
    seen = []

    def run(missing, config, run):
        _, model_id, out = run.args
        seen.extend(q.question_id for q in missing)
        name, entry = EmbeddingStore(out).write_shard(missing, encoded(missing), model_id)
        ids, entry = [q.question_id for q in missing], json.dumps(entry)
        yield {
            "shard": name,
            "entry": entry,
            "worker": "w",
            "ids": ids,
            "tokens": 1,
            "began": 0.0,
            "ended": 1.0,
        }

    class Session:
        def __init__(self, *_):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(job, "told_session", Session)
    monkeypatch.setattr(job, "cluster_capacity", lambda: SimpleNamespace(check=lambda _: None, gpus=0))
    monkeypatch.setattr(job, "_run_to_the_end", run)
    return seen


def test_the_tokenizer_alone_counts_as_the_encoder_does(tiny_language_model):
    source, asked = find_model(str(tiny_language_model)), list(with_long().iter_questions())
    found = too_long(source, asked)
    assert list(found) == ["q1", "q3"]
    told = Encoder(source).encode_each([(q.prompt, q.responses) for q in asked])
    problems = [e for e in told if isinstance(e, QuestionTooLongError)]
    assert [e.reason.split()[0] for e in problems] == [str(n) for n in found.values()]
    assert Tokenizer.of(source).max_tokens == 512


def test_all_that_are_too_long_are_named_before_ray_starts(tiny_language_model, tmp_path, no_ray):
    with pytest.raises(
        EmbeddingError, match=r"2 questions are .*'q1' \(\d+ tokens\), 'q3' .*--too-long drop"
    ):
        embed(with_long(), tmp_path / "store", EmbedConfig(model=str(tiny_language_model)))
    assert not list((tmp_path / "store").glob("*.parquet"))


def test_the_command_names_them(tiny_language_model, tmp_path, fails, no_ray):
    with_long().save(tmp_path / "survey")
    places = ["--survey", tmp_path / "survey", "--out", tmp_path / "store", "--model", tiny_language_model]
    fails("embed", *places, words=["'q1'", "'q3'", "--too-long drop"])
    fails("embed", *places, "--too-long", "cut", words=["too_long"])


def test_too_long_ones_are_left_out_and_listed(tiny_language_model, tmp_path, embedded, caplog):
    config = EmbedConfig(model=str(tiny_language_model), too_long="drop")
    dataset, store = with_long(), EmbeddingStore(tmp_path / "store")
    result = embed(dataset, store.folder.absolute, config)
    assert embedded == ["q0", "q2", "q4"]
    assert list(result["dropped"]) == ["q1", "q3"]
    assert (result["embedded"], result["reused"]) == (3, 0)
    with pytest.raises(EmbeddingError, match=r"2 of 5 questions were left out as too long .* 'q1', 'q3'"):
        store.load(dataset)
    with caplog.at_level(logging.WARNING):
        kept = store.without_dropped(dataset)
    assert "2 questions were too long for the language model: 'q1', 'q3'; they are left out" in caplog.text
    assert kept.questions["question_id"].to_pylist() == ["q0", "q2", "q4"]
    assert kept.groups["group_id"].to_pylist() == ["g0", "g1", "g2", "g3"]  # g4 answered nothing else
    assert len(store.load(kept).letter_logprob) == 6
    again = embed(dataset, store.folder.absolute, config)
    assert (again["embedded"], again["reused"], len(embedded)) == (0, 3, 3)


def test_another_survey_in_the_same_store_keeps_the_list(tiny_language_model, tmp_path, embedded):
    config = EmbedConfig(model=str(tiny_language_model), too_long="drop")
    store = EmbeddingStore(tmp_path / "store")
    embed(with_long(), store.folder.absolute, config)
    embed(survey(3, 4), store.folder.absolute, config)
    assert len(store.dropped()) == 2
    assert store.without_dropped(survey(3, 4)).questions.num_rows == 4


def test_nothing_but_too_long_questions_is_refused(tiny_language_model, tmp_path, no_ray):
    asked = [q for q in with_long().iter_questions() if q.question_id in LONG]
    rows = {"group_id": ["g", "g"], "question_id": ["q1", "q3"], "choice": [0, 1]}
    only = PreferenceDataset.build(asked, [Group("g", "attribute")], rows)
    with pytest.raises(EmbeddingError, match="2 questions are longer"):
        embed(only, tmp_path / "store", EmbedConfig(model=str(tiny_language_model), too_long="drop"))


def test_answers_on_disk_need_all_questions(tiny_language_model, tmp_path, embedded):
    embed(with_long(), tmp_path / "store", EmbedConfig(model=str(tiny_language_model), too_long="drop"))
    with_long().save(tmp_path / "survey")
    bare = PreferenceDataset.load(tmp_path / "survey", answers=False)
    with pytest.raises(EmbeddingError, match="answers on disk need every question"):
        EmbeddingStore(tmp_path / "store").without_dropped(bare)


def test_of_a_joined_survey_the_other_part_loses_them_too():
    joined, other = join_surveys(survey(3, 4), with_long())
    kept = joined.select_groups([g for g in joined.groups["group_id"].to_pylist() if g != other.groups[0]])
    assert other.within(kept).groups == other.groups[1:]
    assert other.within(joined) == other


def test_models_in_gguf_have_their_tokenizer_read_alone(tmp_path):
    from tiny_model import save_tiny_gguf

    file = save_tiny_gguf(tmp_path / "tiny.gguf")
    source = find_model(str(file))
    before = Tokenizer.of(source)
    assert before.max_tokens == 512
    model = Encoder(source).language_model  # which puts the converted model into the cache
    after = Tokenizer.of(source)
    for texts in (["Should the city build more parks?", "Yes"], ["Ye"]):
        assert before.chat_tokens(texts) == after.chat_tokens(texts) == model.chat_tokens(texts)
        assert before.tokens(texts) == after.tokens(texts) == model.tokens(texts)
    assert fingerprint(source, "float32")
