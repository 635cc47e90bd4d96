"""A small wave of OpinionQA, as files."""

import json

from survey_sources import write_csv

from gpo_ray.preferences.readers import ReadOptions, read_survey

WAVE = "American_Trends_Panel_W26"
METADATA = [
    {"key": "SEX", "options": "['Male', 'Female']"},
    {"key": "RELIG", "options": "['Atheist', 'Other']"},
]


SCALE = {
    "key": "SAFE_W26",
    "question": "How safe?",
    "references": "['Very', 'Somewhat', \"Isn't\", 'Not sure', 'Refused']",
    "option_ordinal": "[1.0, 2.0, 3.0]",
    "option_mapping": "{}",
}


YESNO = SCALE | {
    "key": "GUN_W26",
    "question": "A gun?",
    "references": "['Yes, I do', 'No', 'Refused']",
    "option_ordinal": "[1.0, 2.0]",
}


def write_wave(root):
    """Two questions and two attributes, which nobody has answered yet; returns the wave's folder."""
    folder = root / "human_resp" / WAVE
    write_csv(folder / "info.csv", [SCALE, YESNO])
    write_csv(folder / "metadata.csv", METADATA)
    return folder


def write_counts(wave, content, attribute="SEX"):
    """Counts of answers, by question and by level of an attribute."""
    (wave / f"{attribute}_data.json").write_text(json.dumps(content), encoding="utf-8")


def write_responses(wave, *rows, columns="SAFE_W26,GUN_W26,SEX,RELIG,WEIGHT_W26"):
    """A row for every respondent."""
    names = columns.split(",")
    write_csv(wave / "responses.csv", [dict(zip(names, r, strict=True)) for r in rows])


def drops(dataset, reason):
    """Where something was left out for a reason."""
    return [d["where"] for d in dataset.dropped.to_pylist() if d["reason"] == reason]


def read(wave, **options):
    """The survey of a wave's folder."""
    return read_survey("opinionqa", wave.parents[1], ReadOptions(**options))
