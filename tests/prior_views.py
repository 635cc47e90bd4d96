"""The prior over synthetic groups, and questions that tests ask it."""

from dataclasses import replace

import numpy as np
from synthetic import arrays, survey

from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.scales import PriorScales

DATA = arrays(survey(groups=8, count=16))
SPARSE = arrays(survey(groups=8, count=16, answered=0.6, seed=3))
ALL = np.arange(16)
SIZES = np.diff(DATA.offsets)
GROUPS = (0, 1, 2, 3, 4)


def view(data=DATA, groups=GROUPS, questions=ALL, scales=PriorScales(), cross_fit=True):  # noqa: B008
    """A prior over some groups' answers to some questions, at all questions of ``data``."""
    memory, question_index = GroupPrior.from_groups(data, groups, np.asarray(questions))
    memory = replace(memory, scales=scales)
    return PriorAtQuestions.of(memory, data.x.numpy(), np.diff(data.offsets), question_index, cross_fit)


def ask(v, context=(0, 1, 2, 3), target=(4, 5, 6), y=None, group=6, data=DATA, **kwargs):
    """What a prior says of a group's answers to ``target``, given those to ``context`` (or ``y``)."""
    context, target = np.asarray(context), np.asarray(target)
    y = data.shares_of(group, context) if y is None else y
    return v.posterior(context, y, target, **kwargs)


def changed(data, group, questions, seed=9):
    """Other answers of a group to some questions that it answered."""
    rng = np.random.default_rng(seed)
    sizes = np.diff(data.offsets)
    own = np.split(data.shares[group], np.cumsum(sizes[data.answered[group]])[:-1])
    own = [
        rng.dirichlet(np.ones(len(s))) if q in set(questions) else s
        for q, s in zip(data.answered[group], own, strict=True)
    ]
    shares = tuple(np.concatenate(own) if g == group else s for g, s in enumerate(data.shares))
    return replace(data, shares=shares)


def hide(data, group, questions):
    """The same data without a group's answers to some questions."""
    kept = data.answered[group][~np.isin(data.answered[group], questions)]
    mine = data.shares_of(group, kept)
    return replace(
        data,
        answered=tuple(kept if g == group else a for g, a in enumerate(data.answered)),
        shares=tuple(mine if g == group else s for g, s in enumerate(data.shares)),
    )


def same(a, b, **kwargs):
    """Check that two posteriors are equal."""
    np.testing.assert_allclose(a.shares, b.shares, **({"atol": 1e-9} | kwargs))
    np.testing.assert_allclose(a.sd, b.sd, **({"atol": 1e-9} | kwargs))
    np.testing.assert_array_equal(a.seen, b.seen)


def differ(a, b, least=1e-3):
    """Check that two posteriors are not."""
    assert abs(a.shares - b.shares).max() > least


def rows(questions):
    """Responses of some questions of ``DATA``."""
    return DATA.rows(np.asarray(questions))


def full(data, g):
    """(N,) shares of a group, NaN where it did not answer."""
    result = np.full(len(data.x), np.nan)
    result[data.rows(data.answered[g])] = data.shares[g]
    return result
