"""The prompt template is the one of the design."""

import string

from gpo_ray.embedding.template import instruction, letter, response_text


def test_letters_go_on_after_z():
    assert [letter(i) for i in range(26)] == list(string.ascii_uppercase)
    assert [letter(i) for i in (26, 27, 51, 52, 701)] == ["AA", "AB", "AZ", "BA", "ZZ"]
    assert len({letter(i) for i in range(702)}) == 702


def test_text_is_the_designs():
    assert instruction("How are you?", ["Well", "Ill"]) == (
        "Answer the following question by picking ONE of the given options\n"
        "\n"
        "How are you?\n"
        "\n"
        "Options:\n"
        "A. Well\n"
        "B. Ill"
    )
    assert response_text(1, "Ill") == "B. Ill"
