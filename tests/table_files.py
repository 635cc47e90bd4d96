"""Tables that tests write and read, and what was read of them."""

import pytest

from gpo_ray.preferences.readers import ReadOptions, read_survey

HEADER = "group,prompt,response,count\n"


def read(path, **options):
    return read_survey("table", path, ReadOptions(**options))


def table(folder, text, name="mine.csv", encoding="utf-8", **options):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return read(path, **options)


def shares(dataset):
    """The share of each group, prompt and response."""
    questions = {q["question_id"]: q for q in dataset.questions.to_pylist()}
    return {
        (p["group_id"], questions[p["question_id"]]["prompt"], response): pytest.approx(share)
        for p in dataset.preferences.to_pylist()
        for response, share in zip(questions[p["question_id"]]["responses"], p["share"], strict=True)
    }


def n(dataset):
    return [p["n"] for p in dataset.preferences.to_pylist()]


def notes(dataset):
    return [f"{x['where']}: {x['note']}" for x in dataset.notes.to_pylist()]


def drops(dataset):
    return [f"{x['where']}: {x['reason']}" for x in dataset.dropped.to_pylist()]


def one(dataset):
    """The shares of the only group and question by response."""
    return {response: share for (_, _, response), share in shares(dataset).items()}
