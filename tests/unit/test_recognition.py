"""Recognising the questions that a prior has seen."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.model.texts import AnsweredSlate
from gpo_ray.preferences.labels import earlier_folded_label, label_hashes, prompt_key, slate_key
from gpo_ray.prior.recognition import OTHER_RESPONSES, QuestionHashes, Recognition, Recognizer
from gpo_ray.serving.inference.asked import Recognised
from gpo_ray.serving.inference.calls import Call, Context

SEEN = [
    ("Should the library open on Sundays?", ("Yes", "No")),
    ("How often do you swim?", ("Often", "Rarely", "Never", "Don't know")),
    ("How often do you swim?", ("Daily", "Weekly")),
    ("Who?", ("US", "us")),
]
SIZES = {slate_key(*q): len(q[1]) for q in SEEN}
NEW = Recognizer(SIZES, {slate_key(*q): QuestionHashes.of(*q) for q in SEEN})
OLD = Recognizer(SIZES, {})
"""As bundles of earlier versions are read."""


@pytest.mark.parametrize("recognizer", [NEW, OLD])
@pytest.mark.parametrize("question", SEEN)
def test_every_order_is_recognised(recognizer, question):
    prompt, responses = question
    for order in itertools.permutations(range(len(responses))):
        turned = [responses[i] for i in order]
        found = recognizer.recognise(prompt, turned)
        assert found.key == slate_key(*question)
        assert [responses[i] for i in found.order] == turned


@pytest.mark.parametrize("recognizer", [NEW, OLD])
def test_spaces_are_no_other_question(recognizer):
    found = recognizer.recognise(" Should the library open on  Sundays?", ["No ", "Yes"])
    assert found == Recognition(slate_key(*SEEN[0]), (1, 0))


def test_case_is_no_other_question():
    assert NEW.recognise("should the library open on sundays?", ["no", "YES"]).order == (1, 0)
    assert NEW.recognise("Who?", ["us", "US"]) == Recognition(slate_key(*SEEN[3]), (1, 0))


TYPESET = [("Don’t you swim – ever?", ("I don’t", "18–24 times", "Never")), ("Why?", ("So…", "No"))]


def hashed_before(prompt, responses):
    """The hashes of a bundle that told typography apart."""
    form = earlier_folded_label
    return QuestionHashes(prompt=prompt_key(prompt, form), responses=label_hashes(responses, form))


@pytest.mark.parametrize("hashes", [QuestionHashes.of, hashed_before])
def test_typeset_questions_are_recognised(hashes):
    recognizer = Recognizer(
        {slate_key(*q): len(q[1]) for q in TYPESET}, {slate_key(*q): hashes(*q) for q in TYPESET}
    )
    found = recognizer.recognise("don’t you swim – ever?", ["never", "I don’t", "18–24 times"])
    assert found == Recognition(slate_key(*TYPESET[0]), (2, 0, 1))
    assert recognizer.recognise("Why?", ["no", "so…"]).order == (1, 0)
    plain = recognizer.recognise("Don't you swim - ever?", ["Never", "18-24 times", "I don't"])
    assert (plain.key is not None) == (hashes == QuestionHashes.of)


def test_the_service_keeps_the_notes_of_a_context_for_a_bundle():
    context = [
        AnsweredSlate(prompt=SEEN[0][0], responses=SEEN[0][1], choice=0),
        AnsweredSlate(prompt=SEEN[0][0], responses=("Yes", "No", "Unsure"), choice=0),
        AnsweredSlate(prompt="Never asked?", responses=("Yes", "No"), choice=1),
    ]
    call = Call(Context.of(context), (), "", 0.0)
    asked = []

    def recognise(prompt, responses):
        asked.append(prompt)
        return NEW.recognise(prompt, responses)

    recognised = Recognised()
    (note,) = recognised.notes(call, "one", recognise)
    assert note == f"answer 1 ('{SEEN[0][0]}'): {OTHER_RESPONSES}"
    assert recognised.notes(call, "one", recognise) == (note,)
    assert len(asked) == 3
    assert recognised.notes(call, "another", recognise) == (note,)
    assert len(asked) == 6


def test_a_known_prompt_with_other_responses_is_told():
    assert NEW.recognise(SEEN[0][0], ["Yes", "No", "Unsure"]) == Recognition(None, (0, 1, 2), True)
    assert NEW.recognise("Should it close?", ["Yes", "No"]) == Recognition(None, (0, 1), False)
    assert OLD.recognise(SEEN[0][0], ["Yes", "No", "Unsure"]) == Recognition(None, (0, 1, 2), False)


@given(st.permutations(range(4)), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_values_follow_their_labels(order, values):
    prompt, responses = SEEN[1]
    turned = [responses[i] for i in order]
    found = NEW.recognise(prompt, turned)
    mine = dict(zip(responses, found.to_prior(values), strict=True))
    assert [mine[r] for r in turned] == values


def test_many_responses_are_recognised_by_hashes_and_in_old_bundles_in_their_order():
    responses = tuple(f"Response {i}" for i in range(40))
    key = slate_key("Which?", responses)
    old = Recognizer({key: 40}, {})
    assert old.recognise("Which? ", responses).key == key
    assert old.recognise("Which?", responses[::-1]).key is None
    new = Recognizer({key: 40}, {key: QuestionHashes.of("Which?", responses)})
    assert new.recognise("Which?", responses[::-1]).order == tuple(range(40))[::-1]
