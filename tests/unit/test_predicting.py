"""``gpo predict``: what it says of each question, and what it does without a language model."""

import json
import subprocess
import sys

import pytest
import yaml
from synthetic import (
    FINGERPRINT,
    TINY_MODEL,
    bundle_config,
    flip_byte,
    questions,
    survey,
    tiny_config,
    write_store,
)

from gpo_ray.embedding.store import EmbeddingStore


@pytest.fixture
def trained(gpo, tmp_path):
    """Bundles with and without a prior, and a store of all that meta-train groups answered and two more.

    Their language model is nowhere: whatever works here needs none.
    """
    dataset = survey(groups=6, count=8)
    dataset.save(tmp_path / "survey")
    write_store(tmp_path / "store", questions(10))
    for name, prior in (("bundle", "memory"), ("plain", "none")):
        config = tiny_config(model=TINY_MODEL | {"prior": prior}, steps=4).model_dump(mode="json")
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
        places = ("--survey", tmp_path / "survey", "--embeddings", tmp_path / "store")
        out = ("--out", tmp_path / name, "--config", tmp_path / f"{name}.yaml", "--json")
        code, _, err = gpo("train", *places, *out)
        assert code == 0, err
    asked = [{"prompt": q.prompt, "responses": q.responses} for q in questions(10)]
    (tmp_path / "context.json").write_text(json.dumps([a | {"choice": 0} for a in asked[:3]]))
    (tmp_path / "questions.json").write_text(json.dumps(asked[6:]))
    return tmp_path


def arguments(folder, bundle="bundle", questions="questions.json"):
    files = ("--context", folder / "context.json", "--questions", folder / questions)
    return ("predict", "--bundle", folder / bundle, *files)


def test_questions_in_the_store_need_no_language_model(gpo, trained):
    code, out, err = gpo(*arguments(trained), "--embeddings", trained / "store", "--json")
    assert (code, err) == (0, "")
    predictions = json.loads(out)["predictions"]
    assert [p["seen"] for p in predictions] == [True, True, False, False]
    for p in predictions:
        assert sum(p["share"]) == pytest.approx(1)
        for share, (low, high) in zip(p["share"], p["interval"], strict=True):
            assert 0 <= low <= share <= high <= 1


def test_neither_is_what_loads_one_imported(trained):
    code = f"""
import sys
from gpo_ray.cli import main
sys.argv = ["gpo", *{list(map(str, arguments(trained)))}, "--embeddings", {str(trained / "store")!r}]
try:
    main()
except SystemExit as e:
    assert not e.code
print([m for m in ("transformers", "ray", "pandas", "scipy.stats") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] in ("[]", "['pandas']"), done.stderr  # which pyarrow itself imports


def test_text_names_intervals_and_whether_groups_answered(gpo, trained, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = gpo(*arguments(trained), "--embeddings", trained / "store")
    assert code == 0
    text = " ".join(out.split())
    assert "Question number 6? (seen: meta-train groups answered it)" in text
    assert "Question number 9? (unseen: no meta-train group answered it)" in text
    assert out.count(" to ") == sum(len(q.responses) for q in questions(10)[6:])
    assert "90 %" in out
    assert max(map(len, out.splitlines())) <= 80


def test_without_a_prior_neither_intervals_nor_who_answered(gpo, trained):
    options = (*arguments(trained, "plain"), "--embeddings", trained / "store")
    predictions = json.loads(gpo(*options, "--json")[1])["predictions"]
    assert {(p["interval"], p["seen"]) for p in predictions} == {(None, None)}
    text = gpo(*options)[1]
    assert "%" in text
    assert " to " not in text
    assert not {"seen", "new", "90"} & set(text.replace(":", " ").split())


def test_question_outside_the_store_needs_the_language_model(fails, trained):
    (trained / "more.json").write_text('[{"prompt": "Milk?", "responses": ["yes", "no"]}]')
    fails(*arguments(trained, questions="more.json"), "--embeddings", trained / "store", words=["tiny"])


def test_store_of_another_model_or_damaged(fails, trained):
    store = EmbeddingStore(trained / "other")
    store.commit("another@0/float32", {}, model="another", dtype="float32")
    words = ["another@0/float32", FINGERPRINT]
    fails(*arguments(trained), "--embeddings", trained / "other", words=words)
    fails(*arguments(trained), "--embeddings", trained / "nowhere", words=["nowhere"])
    shard = sorted((trained / "store").glob("shard-*"))[0]
    flip_byte(shard)
    fails(*arguments(trained), "--embeddings", trained / "store", words=[shard.name])


def test_loading_and_reading_are_told(gpo, tmp_path, trained, tiny_language_model, monkeypatch):
    monkeypatch.setenv("GPO_CACHE", str(tmp_path / "cache"))  # where no other test's questions are kept
    from gpo_ray.lm.find import find_model
    from gpo_ray.lm.load import fingerprint
    from gpo_ray.meta_training.engine import new_model
    from gpo_ray.model.bundle import write_bundle

    source = find_model(str(tiny_language_model))
    config = tiny_config()
    made = bundle_config(config, 16).model_copy(
        update={
            "embedding_model": source.reference,
            "embedding_fingerprint": fingerprint(source, "float32"),
        }
    )
    write_bundle(tmp_path / "real", new_model(16, config).state_dict(), made, {})
    code, _, err = gpo(*arguments(trained, "real"))
    assert code == 0, err
    lines = err.strip().splitlines()
    assert [line[:12] for line in lines] == ["predict 1/2:", "predict 2/2:"]
    assert "language model" in lines[0]
    assert "read 7 questions (" in lines[1]
