"""A question is the same one in whatever order and spelling of its responses: shares follow their labels."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from serving_backend import write_service_bundle
from synthetic import survey

import gpo_ray
from gpo_ray import Answer, DataError, Question
from gpo_ray.answer_files import read_answers_file
from gpo_ray.api import predict_file
from gpo_ray.model.bundle import read_bundle, write_bundle
from gpo_ray.prior.keyed import KeyedGroupPrior, PriorState
from gpo_ray.prior.recognition import EARLIER_BUNDLE, OTHER_RESPONSES

SEEN = [*survey(groups=8, count=12).iter_questions()]
"""What the meta-train groups of the bundle were asked."""
NOWHERE = "/no/language/model"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_language_model):
    return write_service_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_language_model)


@pytest.fixture(scope="module")
def old_bundle(bundle, tmp_path_factory):
    """The bundle as an earlier version wrote it, with one hash for each question."""
    folder = tmp_path_factory.mktemp("bundles") / "old"
    read = read_bundle(bundle)
    prior = KeyedGroupPrior(read.prior.prior, read.prior.question_numbers)
    write_bundle(folder, dict(read.model.state_dict()), read.config, {}, prior)
    assert "questions" not in json.loads((folder / "memory.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    return folder


def respelled(text):
    return f" {text.replace(' ', '  ')}\u00a0"


def answer(question, order=None, share=None):
    order = list(range(len(question.responses))) if order is None else list(order)
    share = np.arange(1.0, len(order) + 1) / sum(range(1, len(order) + 1)) if share is None else share
    return Answer(question.prompt, [question.responses[i] for i in order], share=[share[i] for i in order])


def by_label(prediction):
    return {r.strip(): s for r, s in zip(prediction.responses, prediction.share, strict=True)}


@pytest.mark.parametrize(
    ("which", "step"),
    [("bundle", 11), *(pytest.param(w, 1, marks=pytest.mark.minutes) for w in ("bundle", "old_bundle"))],
)
def test_every_order_of_answer_and_question_gives_the_same(request, which, step):
    """All of them with ``--slow``, else every eleventh."""
    model = gpo_ray.load(request.getfixturevalue(which), model=NOWHERE)  # seen questions need no model
    context, target = SEEN[0], SEEN[1]
    (plain,) = model.adapt([answer(context)]).predict([Question(target.prompt, target.responses)])
    assert plain.seen
    assert plain.recognised
    assert plain.note is None
    orders = itertools.product(
        itertools.permutations(range(len(context.responses))), itertools.permutations(target.responses)
    )
    for order, responses in itertools.islice(orders, 0, None, step):
        (found,) = model.adapt([answer(context, order)]).predict([Question(target.prompt, responses)])
        assert found.responses == responses
        assert by_label(found) == pytest.approx(by_label(plain), abs=1e-12)
        there = [plain.responses.index(r) for r in responses]
        np.testing.assert_allclose(found.interval, np.asarray(plain.interval)[there], atol=1e-12)
    other_answer = answer(context, share=np.eye(len(context.responses))[0])
    (differs,) = model.adapt([other_answer]).predict([Question(target.prompt, target.responses)])
    assert max(abs(np.subtract(differs.share, plain.share))) > 1e-3


def test_spelling_changes_nothing(bundle):
    model = gpo_ray.load(bundle, model=NOWHERE)
    group = model.adapt([answer(SEEN[0])])
    asked = Question(SEEN[1].prompt, SEEN[1].responses)
    other = Question(respelled(asked.prompt).upper(), [respelled(r) for r in asked.responses])
    plain, found = group.predict([asked, other])
    assert found.share == plain.share
    assert found.recognised


def test_a_known_prompt_with_other_responses_is_said(bundle):
    model = gpo_ray.load(bundle)
    more = Question(SEEN[1].prompt, [*SEEN[1].responses, "Unsure"])
    (found,) = model.adapt([answer(SEEN[0])]).predict([more])
    assert (found.seen, found.recognised, found.note) == (False, False, OTHER_RESPONSES)
    (new,) = model.adapt([answer(SEEN[0])]).predict([Question("Never asked?", ["Yes", "No"])])
    assert (new.seen, new.recognised, new.note) == (False, None, None)
    group = model.adapt([answer(SEEN[0]), Answer(more.prompt, more.responses, choice=0)])
    (note,) = group.notes
    assert note.startswith("answer 1 (")
    assert note.endswith(OTHER_RESPONSES)


def test_a_question_is_answered_once(bundle):
    again = Answer(f"{SEEN[0].prompt} ", SEEN[0].responses[::-1], choice=0)
    with pytest.raises(DataError, match=r"answers: item 1: prompt: .* is answered by item 0 too"):
        gpo_ray.load(bundle).adapt([answer(SEEN[0]), again])


def test_files_follow_labels_too(bundle, tmp_path):
    responses = list(SEEN[0].responses)
    count = list(range(1, len(responses) + 1))
    (tmp_path / "a.json").write_text(
        json.dumps([{"prompt": SEEN[0].prompt, "responses": responses[::-1], "count": count[::-1]}])
    )
    asked = [{"prompt": SEEN[1].prompt, "responses": list(SEEN[1].responses[::-1])}]
    (tmp_path / "q.json").write_text(json.dumps(asked))
    result = predict_file(str(bundle), str(tmp_path / "a.json"), str(tmp_path / "q.json"), NOWHERE)
    model = gpo_ray.load(bundle, model=NOWHERE)
    known = dataclasses.replace(answer(SEEN[0]), n=sum(count))
    (plain,) = model.adapt([known]).predict([Question(SEEN[1].prompt, SEEN[1].responses)])
    (found,) = result["predictions"]
    assert found["share"] == pytest.approx(plain.share[::-1], abs=1e-12)
    assert (found["seen"], found["recognised"], result["notes"]) == (True, True, [])
    answers, _ = read_answers_file(str(tmp_path / "a.json"))
    np.testing.assert_allclose(answers[0].shares()[::-1], answer(SEEN[0]).share)


def test_hashes_that_do_not_fit_are_refused(bundle):
    read = read_bundle(bundle)
    values, arrays = read.prior.to_state()
    values["questions"].popitem()
    state = PriorState.model_validate(values)
    with pytest.raises(ValueError, match="hashes of questions do not fit"):
        KeyedGroupPrior.from_state(state, arrays, read.config.embedding_width)


def test_a_question_that_the_group_answered_is_recognised(bundle):
    """No meta-train group was asked it: a language model reads it, in the order of the answer."""
    model = gpo_ray.load(bundle)
    responses = ("Free", "Cheap", "As now")
    asked = Answer("What should buses cost?", responses, share=[0.7, 0.2, 0.1])
    group = model.adapt([answer(SEEN[0]), asked])
    plain, turned, new = group.predict(
        [
            Question(asked.prompt, responses),
            Question(f" {asked.prompt}", ["as now", "FREE ", "Cheap"]),
            Question(asked.prompt, ["Free", "Cheap"]),
        ]
    )
    assert (plain.seen, plain.recognised, turned.recognised, new.recognised) == (False, True, True, None)
    np.testing.assert_allclose(turned.share, [plain.share[i] for i in (2, 0, 1)], atol=1e-6)


def test_a_bundle_of_an_earlier_version_says_what_it_cannot(old_bundle):
    model = gpo_ray.load(old_bundle)
    assert model.adapt([Answer("Never asked?", ["Yes", "No"], choice=0)]).notes == [EARLIER_BUNDLE]
    assert model.adapt([answer(SEEN[0])]).notes == []
