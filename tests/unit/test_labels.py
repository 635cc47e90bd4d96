"""The identity of questions: what is the same text, the same question, and which response is which."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.preferences.labels import (
    folded_label,
    normal_label,
    question_key,
    response_labels,
    response_order,
    same_responses,
    slate_key,
    unusable,
)

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
SPACES = st.sampled_from([" ", "  ", "\u00a0", "\u202f", "\t", "\n ", "\u200b "])


@pytest.mark.parametrize(
    "text", ["Heat the  pool?", " Heat the pool?", "Heat\u00a0the pool?\n", "\ufeffHeat the\u202fpool?"]
)
def test_spaces_make_no_other_label(text):
    assert normal_label(text) == "Heat the pool?"


def test_unicode_forms_make_no_other_label():
    composed = "Köln, où ça?"
    assert normal_label(unicodedata.normalize("NFD", composed)) == composed
    assert folded_label("STRASSE ") == folded_label("straße")


def test_case_is_kept_where_it_alone_tells_responses_apart():
    assert response_labels(["US", "us", "We "]) == ("US", "us", "We")
    assert response_labels(["US", "Us  and them"]) == ("us", "us and them")
    assert question_key("Who?", ["US", "us"]) != question_key("Who?", ["us", "they"])


@given(st.data(), st.lists(WORDS, min_size=2, max_size=6), WORDS)
def test_order_and_spelling_do_not_change_the_question(data, responses, prompt):
    labels = response_labels(responses)
    if len(set(labels)) < len(labels):
        return
    order = data.draw(st.permutations(range(len(responses))))
    space = data.draw(SPACES)
    turned = [space + unicodedata.normalize("NFD", responses[i]) for i in order]
    assert question_key(prompt + space, turned) == question_key(prompt, responses)
    found = response_order(response_labels(turned), labels)
    assert found == tuple(order)
    if turned != responses:
        assert slate_key(prompt, turned) != slate_key(prompt, responses)


@pytest.mark.parametrize("other", [["Yes"], ["Yes", "No", "Unsure"], ["Yes", "Maybe"], ["Yes", "Yes"]])
def test_other_responses_make_another_question(other):
    labels = response_labels(["Yes", "No"])
    assert response_order(response_labels(other), labels) is None
    assert question_key("Heat it?", other) != question_key("Heat it?", ["Yes", "No"])
    assert question_key("Heat them?", ["Yes", "No"]) != question_key("Heat it?", ["Yes", "No"])


def test_what_a_language_model_reads_has_the_key_that_stores_were_written_with():
    assert slate_key("Heat it?", ["Yes", "No"]) == "ca886c7675e6b70579613be018037879"


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "x" * 4000 + "\udabc"])
def test_half_a_character_is_unusable(text):
    assert unusable(text) == "holds half a character (a lone surrogate)"


@pytest.mark.parametrize("text", ["\ud7ff", "\ue000", "\U0001f600", "plain"])
def test_whole_characters_are_usable(text):
    assert unusable(text) is None


@pytest.mark.parametrize(
    ("typed", "set_by_an_editor"),
    [
        ("Don't know", "Don’t know"),
        ('Is it "big"?', "Is it “big”?"),
        ('Ist es "gut"?', "Ist es „gut“?"),
        ("18-24 years", "18–24 years"),
        ("follow-up", "follow\u2011up"),
        ("And then...", "And then…"),
        ("cooperate", "co\u00adoperate"),
    ],
)
def test_typography_makes_no_other_question(typed, set_by_an_editor):
    assert question_key(typed, ["Yes", "No"]) == question_key(set_by_an_editor, ["Yes", "No"])
    assert question_key("Well?", [typed, "No"]) == question_key("Well?", ["No", set_by_an_editor])
    assert normal_label(typed) != normal_label(set_by_an_editor)
    assert slate_key(typed, ["Yes", "No"]) != slate_key(set_by_an_editor, ["Yes", "No"])


def test_typography_is_kept_where_it_alone_tells_responses_apart():
    assert response_labels(["It's", "It’s", "No"]) == ("it's", "it’s", "no")


@pytest.mark.parametrize(
    ("responses", "same"),
    [
        (["Yes", "No"], None),
        (["Yes", "Yes "], (0, 1, "nothing but spaces or Unicode forms")),
        (["Yes", "Yes"], (0, 1, "nothing but spaces or Unicode forms")),
        (["So", "Yes", "yes"], (1, 2, "upper and lower case alone")),
        (["No", "Don't", "Don’t"], (1, 2, "quotes, dashes or dots alone")),
    ],
)
def test_responses_that_differ_in_little(responses, same):
    assert same_responses(responses) == same
