"""Columns of many different texts and labels: each is looked at once, so that the time grows as they do."""

import time
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpo_ray.errors import ConfigError
from gpo_ray.preferences.readers import ReadOptions
from gpo_ray.preferences.readers.respondents import levels
from gpo_ray.preferences.readers.respondents.declared import declared_sets
from gpo_ray.preferences.readers.respondents.levels import labelled
from gpo_ray.preferences.readers.respondents.loading import load_codebook
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.reader import read_respondents, read_table_of
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable

MANY = 40_000
MOST_SECONDS = 20
"""Of a processor. It takes two or three; it took minutes where each value was compared with all others."""


@contextmanager
def soon():
    began = time.process_time()
    yield
    assert time.process_time() - began < MOST_SECONDS


def people(path, texts):
    number = len(texts)
    table = {
        "Who are you?": texts,
        "sex": pa.array(["m", "w"] * (number // 2)),
        "Better parks?": pa.array(["Yes", "No", "No", "No"] * (number // 4)),
    }
    pq.write_table(pa.table(table), path)
    return path


@pytest.mark.parametrize("kind", ["texts", "factor", "ordered factor", "numbers"])
def test_a_column_of_many_values(tmp_path, kind):
    texts = pa.array([f"person {i}" for i in range(MANY)])
    if kind == "numbers":
        texts = pa.array(np.arange(MANY))
    elif kind != "texts":
        texts = pa.DictionaryArray.from_arrays(
            pa.array(np.arange(MANY)[::-1]), texts, ordered=kind.startswith("ordered")
        )
    path = people(tmp_path / "p.parquet", texts)
    with soon():
        proposal = propose(read_table_of(path, ReadOptions()))
        dataset = read_respondents(path, ReadOptions(min_respondents=1))
    assert list(proposal.codebook.questions) == ["Better parks?"]
    assert dataset.groups.num_rows == 2
    if "factor" in kind:
        column = read_table_of(path, ReadOptions()).columns["Who are you?"]
        assert column.values[0] == "person 0"
        assert column.values[column.code[0]] == f"person {MANY - 1}"


def test_values_are_sorted_by_places_that_are_found_once():
    counted = []

    class Values(tuple):
        def __iter__(self):
            counted.append(1)
            return super().__iter__()

    column = Column("a", Values(f"v{i}" for i in range(100)), np.arange(100), kind="text")
    assert sorted(column.values, key=column.order) == list(column.values)
    assert len(counted) < 10


def test_many_labels(monkeypatch):
    monkeypatch.setattr(levels, "MOST_LABELS", MANY)
    number = 15_000
    labels = {float(i): f"{i}. Occupation {i}" for i in range(1, number)}
    labels |= {float(10**6 + i): "Does not apply" for i in range(number)} | {-9.0: "Refused"}
    column = Column("occ", (1.0, 2.0), np.zeros(10, np.int32), "Occupation", labels)
    with soon():
        found = labelled(column)
    assert len(found.answers) >= number - 1
    assert found.missing[-9.0] == "Refused"


def test_many_numbers_between_labelled_ends():
    values = tuple(float(i) for i in range(MANY))
    column = Column("v", values, np.arange(MANY), "How much?", {0.0: "None", values[-1]: "All"})
    with soon():
        found = labelled(column)
    assert len(found.unlabelled) == len(found.between) == MANY - 2


def test_a_codebook_of_many_responses(tmp_path):
    codes = [f"v{i}" for i in range(20_000)]
    column = Column("q", tuple(codes), np.arange(len(codes)), kind="text")
    table = RespondentTable(tmp_path / "p.csv", len(codes), {"q": column})
    book = tmp_path / "b.yaml"
    text = "questions:\n  q:\n    prompt: Which?\n    responses: "
    book.write_text(f"{text}[{', '.join(codes)}]\n")
    with soon():
        assert len(load_codebook(book, table).questions["q"].responses) == len(codes)
    unknown = ", ".join(f"x{i}: A {i}" for i in range(len(codes)))
    book.write_text(f"{text}{{{unknown}}}\n")
    with soon(), pytest.raises(ConfigError, match="x0 is not a value of q"):
        load_codebook(book, table)


def test_a_set_of_too_many_things_adds_none():
    class Meta:
        mr_sets = {"places": {"variable_list": ["a", "b"], "label": "Places", "is_dichotomy": False}}  # noqa: RUF012

    values = tuple(f"place {i}" for i in range(20_000))
    columns = {n: Column(n, values, np.arange(len(values)), kind="text") for n in ("a", "b")}
    with soon():
        assert declared_sets(Meta, columns) == ([], ())
