"""Protocol ``individuals``: single people, scored by the accuracy of their most probable answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols.protocol import Protocol
from gpo_ray.evaluation.summary import accuracy_table
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import Draw, Parts


class Individuals(Protocol):
    """A protocol that divides people within topics; groups of other kinds are all for meta-training.

    ``fraction`` is the share of each topic's people that is for meta-training.
    """

    name = "individuals"
    kind = "individual"

    def divide(self, draw: Draw) -> Parts:
        """Take the same share of each topic's people; the order of every part mixes the topics evenly.

        Raises:
            ConfigError: if there are too few people.
        """
        people = draw.groups
        topics = _topics(draw.dataset, set(people))
        strata: dict[str, list[str]] = defaultdict(list)
        for g in people:
            strata[topics.get(g, "")].append(g)
        cuts = {t: draw.meta_train_size(len(strata[t])) for t in sorted(strata)}
        meta_train = _evenly([strata[t][:cut] for t, cut in cuts.items()])
        test = _evenly([strata[t][cut:] for t, cut in cuts.items()])
        validation = draw.validation_size(len(meta_train))
        if len(meta_train) - validation < 1 or (draw.fraction < 1 and not test):
            raise ConfigError(
                f"{len(people)} people on {len(strata)} topics cannot be divided at fraction "
                f"{draw.fraction:g}: meta-training needs at least 2 (one of them for validation) and "
                "evaluation at least 1"
            )
        return Parts(meta_train[validation:], meta_train[:validation], test, topics)

    def table(self, result: Mapping[str, Any]) -> str:
        """Format the accuracy within topics, with the alignment beside it, from an evaluation's result."""
        return accuracy_table(result["cells"])


def _evenly(lists: list[list[str]]) -> list[str]:
    """Merge lists into one, so that any first part of it holds about the same share of each list."""
    placed = [((i + 0.5) / len(items), item) for items in lists for i, item in enumerate(items)]
    return [item for _, item in sorted(placed, key=lambda p: p[0])]


def _topics(dataset: PreferenceDataset, people: set[str]) -> dict[str, str]:
    """Return each person's topic if each answered questions of exactly one topic, else an empty dict."""
    names = np.asarray([t or "" for t in dataset.questions["topic"].to_pylist()])
    ids = np.asarray(dataset.groups["group_id"].to_pylist())
    distinct, code = np.unique(names, return_inverse=True)
    pairs = np.unique(np.stack([dataset.group_codes(), code[dataset.question_codes()]]), axis=1)
    found = [(str(ids[g]), str(distinct[t])) for g, t in pairs.T if ids[g] in people]
    topics = dict(found)
    return topics if len(found) == len(people) == len(topics) and all(topics.values()) else {}
