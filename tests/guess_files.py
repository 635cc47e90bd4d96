"""A small survey with attributes, and tables of guesses about it."""

import gzip

from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question

HEAD = "model,asked,as,attribute,group,question,response,share\n"
PARKS = Question("PARKS", "made up", "Build parks?", ("Yes", "No", "Don't care"), "city", (3.0, 1.0, 2.0))
BUSES = Question("BUSES", "made up", "Should buses be free?", ("Yes", "No"))
TAXES = Question("TAXES", "made up", "Should taxes rise?", ("A lot", "A little", "No"))
GROUPS = (
    Group("SEX=Female", "attribute", "Women"),
    Group("SEX=Male", "attribute", "people whose sex is Male"),
    Group("PARTY=Green", "attribute"),
)


def city():
    """Three questions and three groups."""
    shares = {
        "PARKS": ([0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.9, 0.1, 0.0]),
        "BUSES": ([0.5, 0.5], [0.25, 0.75], [1.0, 0.0]),
        "TAXES": ([0.1, 0.2, 0.7], [0.2, 0.2, 0.6], [0.5, 0.4, 0.1]),
    }
    rows = [(g.group_id, q, s) for q, every in shares.items() for g, s in zip(GROUPS, every, strict=True)]
    columns = dict(zip(("group_id", "question_id", "share"), map(list, zip(*rows, strict=True)), strict=True))
    return PreferenceDataset.build([PARKS, BUSES, TAXES], GROUPS, columns)


def lines(shares, question="PARKS", model="big", asked="distribution", told="none", group=","):
    """The rows of one guess; ``group`` is attribute and level, separated by a comma."""
    return "".join(f"{model},{asked},{told},{group},{question},{r},{s}\n" for r, s in shares.items())


def write(path, text):
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
