"""What a language model is asked, who it is told to be, and how its letters are scored."""

import itertools
import json

import numpy as np
import pytest
import yaml
from guess_files import BUSES, GROUPS, PARKS, city
from survey_sources import DATA

from gpo_ray.embedding.template import instruction
from gpo_ray.errors import ConfigError, DataError
from gpo_ray.guesses.asking import AskSettings, asked, cyclic_orders, plan
from gpo_ray.guesses.job import packed, plan_units, unpacked
from gpo_ray.guesses.letters import TOO_LONG, letter_guesses, option_spellings
from gpo_ray.guesses.local import LocalBackend
from gpo_ray.guesses.roles import STYLES, chosen_roles, describe, describe_all, read_roles, write_roles
from gpo_ray.guesses.store import GuessStore
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.lm.find import find_model
from gpo_ray.lm.generate import generate
from gpo_ray.lm.model import LanguageModel
from gpo_ray.preferences.dataset import Group, Question

ROLES = describe_all(GROUPS)


@pytest.fixture(scope="module")
def model(tiny_language_model):
    return LanguageModel(find_model(str(tiny_language_model)), device="cpu")


def ask(question=PARKS, style="none", group=None, identity="tiny@1", **settings):
    chosen = AskSettings(**settings)
    role = None if group is None else ROLES[group]
    return asked(question, Way("tiny", chosen.ask, style), group, role, identity, chosen)


def every(dataset, styles=STYLES, **settings):
    return list(plan(dataset.iter_questions(), "tiny", "tiny@1", styles, ROLES, AskSettings(**settings)))


def test_the_plain_question_is_asked_as_it_is_embedded():
    assert ask().texts == (instruction(PARKS.prompt, PARKS.responses),)


@pytest.mark.parametrize("ask_for", ["logprobs", "distribution", "sequence"])
@pytest.mark.parametrize("style", ["qa", "bio", "portray"])
def test_a_role_stands_before_the_whole_question(ask_for, style):
    (text,) = ask(style=style, group="SEX=Female", ask=ask_for).texts
    assert text.index("Female") < text.index(PARKS.prompt) < text.index("A. Yes\nB. No\nC. Don't care")
    assert "Male" not in text


def test_everything_is_asked_in_each_style_and_role_once():
    found = every(city())
    assert len(found) == 3 + 3 * 3 * 3
    assert len({(a.way, a.group_id, a.question.key) for a in found}) == len(found)
    assert all((a.group_id is None) == (a.way.style == "none") for a in found)
    units = plan_units(found, actors=2)
    assert sorted(a.content for u in units for a in u) == sorted(a.content for a in found)
    assert all(len({(a.way, a.group_id) for a in unit}) == 1 for unit in units)
    assert unpacked(packed(found)) == found


def test_orders_are_cyclic_and_their_mean_is_by_label():
    assert cyclic_orders(3, 1) == ((0, 1, 2),)
    assert cyclic_orders(4, 2) == ((0, 1, 2, 3), (2, 3, 0, 1))
    assert cyclic_orders(3, 9) == ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    found = ask(orders=3)
    assert "A. No\nB. Don't care\nC. Yes" in found.texts[1]
    # a model that always takes the first letter has no opinion when all orders are averaged
    np.testing.assert_allclose(found.mean([[1, 0, 0]] * 3), [1 / 3] * 3)
    np.testing.assert_allclose(
        found.mean([[0.5, 0.3, 0.2], [0.3, 0.2, 0.5], [0.2, 0.5, 0.3]]), [0.5, 0.3, 0.2]
    )


def test_content_depends_on_all_that_the_answer_depends_on():
    changes = [
        {}, {"identity": "tiny@2"}, {"style": "bio", "group": "SEX=Male"},
        {"style": "qa", "group": "SEX=Male"},
        {"style": "bio", "group": "SEX=Female"}, {"orders": 2}, {"ask": "distribution"}, {"question": BUSES},
        {"ask": "distribution", "temperature": 1.0}, {"ask": "distribution", "temperature": 1.0, "seed": 1},
        {"ask": "sequence"}, {"ask": "sequence", "people": 10},
    ]  # fmt: skip
    assert len({ask(**change).content for change in changes}) == len(changes)
    assert ask(seed=1, people=9).content == ask().content  # letters depend on neither
    assert ask(ask="distribution", seed=1).content == ask(ask="distribution").content  # nor greedy replies


@pytest.mark.parametrize("orders", [1, 3])
def test_letters_sum_all_their_spellings(model, orders):
    a = ask(orders=orders)
    (found,) = letter_guesses(model, [a])
    by_order = []
    for text in a.texts:
        (prompt,) = model.chat_tokens([text])
        by_order.append([sum(probability(model, prompt, w) for w in (x, f" {x}")) for x in "ABC"])
        by_order[-1] = np.array(by_order[-1]) / sum(by_order[-1])
    np.testing.assert_allclose(found.share, a.mean(by_order), rtol=1e-4)


def probability(model, prompt, word):
    """Of a word after a prompt, token by token, by the model itself."""
    import torch

    total = 0.0
    (ids,) = model.tokens([word])
    for i, token in enumerate(ids):
        with torch.inference_mode():
            logits = model.model(torch.tensor([prompt + ids[:i]])).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
    return np.exp(total)


def test_no_spelling_of_a_letter_begins_another_one(model):
    for size in (2, 26, 30):
        spelled = [ids for i in range(size) for ids in option_spellings(model, i, size)]
        pairs = itertools.permutations(spelled, 2)
        assert not any(b[: len(a)] == a for a, b in pairs)
        assert len(spelled) >= 2 * size


def test_a_prompt_that_is_too_long_brings_no_guess_and_the_others_do(model):
    long = Question("LONG", "made up", "word " * 200, ("Yes", "No"))
    found = letter_guesses(model, [ask(long), ask(), ask(long, orders=2)])
    assert [g.reason for g in found] == [TOO_LONG, None, TOO_LONG]
    backend = LocalBackend(model)
    settings = AskSettings(ask="distribution")
    assert backend.answer([ask(long, ask="distribution")], settings)[0].reason == TOO_LONG


def test_replies_do_not_depend_on_what_is_generated_beside_them(model):
    prompts = model.chat_tokens(["one", "a longer one than that", "three"])
    together = generate(model, prompts, [8, 5, 12], 1.0, [1, 2, 3])
    alone = [
        generate(model, [p], [n], 1.0, [s])[0] for p, n, s in zip(prompts, [8, 5, 12], [1, 2, 3], strict=True)
    ]
    assert together == alone
    assert generate(model, prompts, [8, 5, 12], 1.0, [4, 5, 6]) != together
    greedy = generate(model, prompts[:1], [6])
    import torch

    ids = torch.tensor(prompts[:1])
    out = model.model.generate(ids, max_new_tokens=6, do_sample=False, attention_mask=torch.ones_like(ids))
    assert greedy[0].text == model.text_of(out[0, len(prompts[0]) :].tolist())


def test_a_model_that_writes_nonsense_makes_no_guess(model):
    settings = AskSettings(ask="distribution")
    (found,) = LocalBackend(model).answer([ask(ask="distribution")], settings)
    assert found.share is None
    assert found.reason.startswith("reply: ")


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (Group("SEX=Female", "attribute", "Women"), ["Female"]),
        (Group("HAIR {x}=Red & long", "attribute"), ["Red & long", "hair {x}"]),
        (
            Group("AGE=18-29 & PARTY=Green", "attribute", "people aged 18-29 of the Green party"),
            ["18-29", "Green"],
        ),
        (Group("Chile", "country"), ["Chile"]),
        (Group("r/chess", "community", "players"), ["r/chess"]),
        (Group("Left", "attribute"), ["Left"]),
    ],
)
def test_every_style_names_the_group(group, words):
    role = describe(group)
    for style in STYLES[1:]:
        for word in words:
            assert word.casefold() in role.text(style).casefold()


def test_a_single_person_is_not_told():
    assert describe_all([Group("user=1", "individual", "A US adult"), *GROUPS]).keys() == ROLES.keys()


def test_roles_are_written_edited_and_read(tmp_path):
    file = tmp_path / "roles.yaml"
    write_roles(ROLES, file)
    ids = [g.group_id for g in GROUPS]
    assert read_roles(file, ids) == ROLES
    edited = yaml.safe_load(file.read_text())
    edited["roles"]["SEX=Male"]["bio"] = "I am a man."
    file.write_text(yaml.safe_dump(edited))
    assert "I am a man." in read_roles(file, ids)["SEX=Male"].text("bio")
    with pytest.raises(ConfigError, match=r"roles\.SEX=Male: the survey has no such group"):
        read_roles(file, ids[:1] + ids[2:])
    edited["roles"]["SEX=Male"]["bio"] = " "
    file.write_text(yaml.safe_dump(edited))
    with pytest.raises(ConfigError, match=r"roles\.SEX=Male: a text is empty"):
        read_roles(file, ids)
    edited["roles"]["SEX=Male"]["portrait"] = "x"
    file.write_text(yaml.safe_dump(edited))
    with pytest.raises(ConfigError, match="portrait"):
        read_roles(file, ids)


def test_groups_are_chosen_by_id_or_attribute():
    assert list(chosen_roles(ROLES, ["SEX"])) == ["SEX=Female", "SEX=Male"]
    assert list(chosen_roles(ROLES, ["PARTY=Green", "SEX=Male"])) == ["PARTY=Green", "SEX=Male"]
    with pytest.raises(ConfigError, match="'HAIR' is neither"):
        chosen_roles(ROLES, ["HAIR"])


@pytest.mark.skipif(not (DATA / "opinionqa").is_dir(), reason="the surveys are not on this machine")
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("opinionqa", "opinionqa"),
        ("globalopinionqa", "globalopinionqa/global_opinions.csv"),
        ("gss-panel", "gss_panel"),
    ],
)
def test_every_group_of_the_real_surveys_is_named_in_every_style(kind, place):
    from gpo_ray.preferences.readers import read_survey

    dataset = read_survey(kind, DATA / place)
    question = next(iter(dataset.iter_questions()))
    ids = dataset.groups["group_id"].to_pylist()
    roles = describe_all(Group(**row) for row in dataset.groups.to_pylist())
    assert roles.keys() == set(ids)
    for group, role in roles.items():
        levels = [part.partition("=")[2] or part for part in group.split(" & ")]
        for style in STYLES[1:]:
            (text,) = asked(question, Way("m", "logprobs", style), group, role, "m", AskSettings()).texts
            assert all(level.casefold() in text.partition(question.prompt)[0].casefold() for level in levels)


def test_a_store_goes_on_where_it_stopped_and_refuses_what_depends_on_something_else(tmp_path):
    found = every(city(), ["none", "bio"])
    store = GuessStore(tmp_path / "g")
    assert store.missing(found) == found
    name, _ = store.write(
        [a.guess([1 / len(a.question.responses)] * len(a.question.responses)) for a in found[:4]]
    )
    again = GuessStore(tmp_path / "g")
    assert again.missing(found) == found[4:]
    again.write([a.guess(None, "reply: empty") for a in found[4:]])
    table = again.finish("tiny", "tiny@1")
    assert table.counts()["guesses"] == 4
    loaded = GuessTable.load(tmp_path / "g")
    assert dict(loaded.models) == {"tiny": "tiny@1"}
    assert loaded.without() == {"reply: empty": len(found) - 4}
    assert GuessStore(tmp_path / "g").missing(found) == []
    other = list(plan(city().iter_questions(), "tiny", "tiny@2", ["none"], {}, AskSettings()))
    with pytest.raises(DataError, match=r"depends on another model.*choose another --out"):
        GuessStore(tmp_path / "g").missing(other)
    with pytest.raises(DataError, match="a model was asked for"):
        loaded.save(tmp_path / "g")
    (tmp_path / "g" / name).write_bytes(b"damaged")
    assert GuessStore(tmp_path / "g").missing(found) == found[:4]


def test_an_imported_table_stays_and_is_never_thrown_away(tmp_path):
    imported = Guess(Way("big", "distribution", "none"), None, PARKS, [0.5, 0.3, 0.2])
    GuessTable.build([imported], [("question", "Q99", "why", 3)], [("file", "note")]).save(tmp_path / "g")
    store = GuessStore(tmp_path / "g")
    found = every(city(), ["none"])
    assert store.missing(found) == found
    store.write([a.guess(None, "reply: empty") for a in found])
    store.finish("tiny", "tiny@1")
    loaded = GuessTable.load(tmp_path / "g")
    assert dict(loaded.models) == {"big": None, "tiny": "tiny@1"}
    assert (loaded.not_used.num_rows, loaded.notes.num_rows, loaded.guesses.num_rows) == (1, 1, 4)
    (shard,) = (tmp_path / "g").glob("guesses-imported-*")
    shard.write_bytes(b"damaged")
    with pytest.raises(DataError, match="import again"):
        GuessStore(tmp_path / "g").missing(found)


def test_describe_and_the_options_of_asking(tmp_path, gpo, fails):
    city().save(tmp_path / "survey")
    survey = ("--survey", tmp_path / "survey")
    file = tmp_path / "roles.yaml"
    found = json.loads(gpo("guess", "describe", *survey, "--out", file, "--groups", "SEX", "--json")[1])
    assert found == {"roles": 2, "individuals": 0, "out": str(file)}
    assert list(yaml.safe_load(file.read_text())["roles"]) == ["SEX=Female", "SEX=Male"]
    fails("guess", "describe", *survey, "--out", file, words=["there is a file already"])
    asking = ("guess", *survey, "--out", tmp_path / "g")
    fails("guess", *survey, words=["give --out"])
    fails(*asking, "--as", "poet", words=["--as 'poet' is not one of none, qa, bio, portray"])
    fails(*asking, "--ask", "poem", words=["guess: ask"])
    fails(*asking, "--groups", "SEX", words=["--groups and --roles need a style"])
    fails(*asking, "--as", "bio", "--groups", "HAIR", words=["'HAIR' is neither a group nor an attribute"])


def test_the_command_asks_what_its_options_say(tmp_path, gpo, monkeypatch, tiny_language_model):
    from gpo_ray.guesses import job

    found = {}

    def ask_model(asked, out, settings, config, address, progress):
        found.update(asked=asked, out=out, settings=settings, config=config, progress=progress)
        return {"asked": 2, "reused": 1, "guesses": 2, "without": {"reply: empty": 1}}

    monkeypatch.setattr(job, "ask_model", ask_model)
    monkeypatch.chdir(tmp_path)
    city().save("survey")
    gpo("guess", "describe", "--survey", "survey", "--groups", "SEX", "--out", "roles.yaml")
    options = (
        "--as",
        "none,bio",
        "--roles",
        "roles.yaml",
        "--orders",
        2,
        "--ask",
        "distribution",
        "--actors",
        3,
    )
    code, out, err = gpo(
        "guess", "--survey", "survey", "--model", tiny_language_model, "--out", "g", *options
    )
    assert code == 0, err
    assert out == "1 without a guess: reply: empty\n2 asked, 1 were there already; 2 guesses: g\n"
    assert found["out"] == str(tmp_path / "g")
    assert (found["settings"].ask, found["settings"].orders, found["config"].actors) == ("distribution", 2, 3)
    assert {(a.way.style, a.group_id) for a in found["asked"]} == {
        ("none", None),
        ("bio", "SEX=Female"),
        ("bio", "SEX=Male"),
    }
    assert all(a.way.model == "tiny-chat" and len(a.texts) == 2 for a in found["asked"])
