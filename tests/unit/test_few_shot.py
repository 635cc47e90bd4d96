"""The turn that shows a group's answers before a question: what it shows, and what it drops."""

import numpy as np
import pytest
from guess_files import BUSES, PARKS, TAXES
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.embedding.template import instruction
from gpo_ray.guesses.few_shot import GROUP, PERSON, few_shot_prompt, whole_percentages
from gpo_ray.lm.find import find_model
from gpo_ray.lm.tokenizer import Tokenizer
from gpo_ray.preferences.dataset import Question

ANSWERED = ((PARKS, np.array([0.5, 0.3, 0.2])), (BUSES, np.array([0.255, 0.745])))
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)


@st.composite
def answered(draw):
    responses = draw(st.lists(TEXTS, min_size=1, max_size=6, unique=True))
    counts = draw(st.lists(st.integers(0, 50), min_size=len(responses), max_size=len(responses)))
    share = np.array(counts, float) + (sum(counts) == 0)
    return Question("Q", "made up", draw(TEXTS), tuple(responses)), share / share.sum()


def words(text):
    return len(text.split(" "))


def test_the_answers_come_first_and_the_question_last():
    found = few_shot_prompt(TAXES, ANSWERED, words, None)
    assert found.text == (
        f"{GROUP}\n\n"
        "Question: Build parks?\nA. Yes: 50%\nB. No: 30%\nC. Don't care: 20%\n\n"
        "Question: Should buses be free?\nA. Yes: 26%\nB. No: 74%\n\n"
        f"{instruction(TAXES.prompt, TAXES.responses)}"
    )
    assert (found.shown, found.dropped) == (2, 0)


def test_a_persons_choices_are_told_as_such():
    choices = [(q, np.eye(len(q.responses))[1]) for q in (PARKS, BUSES)]
    found = few_shot_prompt(TAXES, choices, words, None)
    assert found.text.startswith(PERSON)
    assert "A. Yes: 0%\nB. No: 100%" in found.text


def test_without_answers_the_plain_question_is_asked():
    assert few_shot_prompt(TAXES, (), words, None).text == instruction(TAXES.prompt, TAXES.responses)


def test_the_same_answers_before_another_question_are_the_same_beginning():
    one, other = (few_shot_prompt(q, ANSWERED, words, None).text for q in (TAXES, PARKS))
    end = one.index(TAXES.prompt)
    assert one[:end] == other[:end]


@given(st.lists(answered(), max_size=8), answered(), st.integers(1, 400), st.integers(1, 5))
def test_answers_are_dropped_from_the_last_one_until_all_fits_and_the_question_is_whole(
    shown, target, window, reply
):
    question = target[0]
    found = few_shot_prompt(question, shown, len, window, reply)
    asked = instruction(question.prompt, question.responses)
    if found is None:
        assert len(asked) + reply > window
        return
    assert len(found.text) + reply <= window
    assert found.text.endswith(asked)
    assert found.shown + found.dropped == len(shown)
    person = all(np.max(share) == 1 for _, share in shown)
    whole = few_shot_prompt(question, shown, len, None).text
    if found.shown:
        head = found.text.removesuffix(asked)
        assert whole.startswith(head)
        assert head.startswith(PERSON if person else GROUP)
    else:
        assert found.text == asked
    if found.dropped:  # one more would not fit
        one_more = shown[: found.shown + 1]
        more = few_shot_prompt(question, one_more, len, None)
        assert len(more.text) + reply > window or more.text.startswith(PERSON) != person


@pytest.mark.parametrize("window", [None, 512, 300])
def test_a_window_of_the_models_tokens_is_kept(tiny_language_model, window):
    tokenizer = Tokenizer.of(find_model(str(tiny_language_model)))

    def count(text):
        return len(tokenizer.chat_tokens([text])[0])

    shown = ANSWERED * 10
    found = few_shot_prompt(TAXES, shown, count, window, 2)
    asked = instruction(TAXES.prompt, TAXES.responses)
    (ids,) = tokenizer.chat_tokens([found.text])
    assert tokenizer.text_of(ids).endswith(f"{asked}<|assistant|>")
    if window is None:
        assert found.dropped == 0
    else:
        assert len(ids) + 2 <= window
        assert found.dropped > 0
    assert few_shot_prompt(TAXES, shown, count, 100, 2) is None


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12))
def test_whole_percentages_sum_to_100_and_are_nearly_the_shares(counts):
    share = np.array(counts, float) + (sum(counts) == 0)
    percent = whole_percentages(share / share.sum())
    assert sum(percent) == 100
    np.testing.assert_array_less(np.abs(np.array(percent) - 100 * share / share.sum()), 1 + 1e-6)
