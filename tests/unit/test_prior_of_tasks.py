"""What is remembered of the groups, and the prior of tasks, episodes and questions found by key."""

from dataclasses import replace

import numpy as np
import pytest
from prior_views import ALL, DATA, GROUPS, SIZES, SPARSE, ask, changed, full, hide, view

from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import Task, build_episode, make_task_prior
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.prior.covariance import PriorInputs
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.keyed import KeyedGroupPrior
from gpo_ray.prior.scales import PriorScales


@pytest.mark.parametrize("questions", [ALL, ALL[:10]])
def test_the_groups_own_answers_to_the_targets_reach_no_prediction(questions):
    prior = make_task_prior(view(questions=questions), DATA)
    t = Task(6, ALL[:3], np.asarray([4, 12, 14]))
    other = changed(changed(DATA, 6, [4, 12, 14]), 7, ALL)
    again = make_task_prior(view(other, questions=questions), other)
    np.testing.assert_array_equal(prior(t)[0], again(t)[0])


def test_remembered_is_what_the_groups_answered_and_no_more():
    memory, question_index = GroupPrior.from_groups(SPARSE, (1, 3), ALL[:9])
    kept = np.intersect1d(ALL[:9], np.union1d(SPARSE.answered[1], SPARSE.answered[3]))
    np.testing.assert_array_equal(np.flatnonzero(question_index >= 0), kept)
    np.testing.assert_array_equal(question_index[kept], np.arange(len(kept)))
    want = np.stack([full(SPARSE, g) for g in (1, 3)])[:, SPARSE.rows(kept)]
    np.testing.assert_array_equal(memory.shares, want)
    np.testing.assert_array_equal(memory.x, SPARSE.x.numpy()[SPARSE.rows(kept)])
    assert memory.groups == (1, 3)


def test_groups_that_answered_nothing_are_refused():
    data = hide(DATA, 0, ALL[:4])
    with pytest.raises(ConfigError, match="answered none of the training questions"):
        GroupPrior.from_groups(data, (0,), ALL[:4])


def test_questions_are_found_by_key_and_size():
    memory, _ = GroupPrior.from_groups(DATA, GROUPS, ALL[:3])
    known = KeyedGroupPrior(memory, {"a": 0, "b": 1, "c": 2})
    sizes = [SIZES[2], SIZES[0], SIZES[1], SIZES[0], SIZES[0] + 1]
    assert known.question_index(["c", None, "b", "x", "a"], sizes).tolist() == [2, -1, 1, -1, -1]


def test_prior_of_tasks_is_the_log_posterior_without_the_group_and_what_is_hidden():
    v, t = view(), Task(2, ALL[:4], ALL[4:7], np.asarray([5]))
    log, known = make_task_prior(v, DATA)(t)
    want = ask(v, group=2, leave_out=2, masked=np.asarray([5]))
    np.testing.assert_array_equal(log, np.log(want.shares))
    np.testing.assert_array_equal(known, want.seen)


def test_episode_marks_what_is_seen_in_padded_groups():
    tasks = [Task(5, ALL[:4], ALL[4:7], ALL[5:6]), Task(6, ALL[:2], ALL[7:9])]
    prior = make_task_prior(view(), DATA)
    target = build_episode(DATA, tasks, task_prior=prior).target
    place = build_episode(DATA, tasks, task_prior=prior).position
    seen = target.seen.flatten()
    np.testing.assert_array_equal(seen[place], np.repeat([True, False, True, True, True], SIZES[4:9]))
    assert not seen[np.setdiff1d(np.arange(len(seen)), place)].any()
    want = np.concatenate([prior(t)[0] for t in tasks])
    np.testing.assert_allclose(target.prior_log_share.flatten()[place], want, atol=1e-6)


@pytest.mark.parametrize("group", [0, 6])
def test_a_single_group_to_learn_from(group):
    v = fit_prior(DATA, [0], ALL, 3)
    found = make_task_prior(v, DATA)(Task(group, ALL[:3], ALL[3:6], ALL[3:4]))
    assert np.isfinite(found[0]).all()
    assert found[1].any() == (group == 6)


@pytest.mark.parametrize(
    "scales", [PriorScales(), PriorScales(outputscale=0), PriorScales(soft_threshold=1.0)]
)
@pytest.mark.parametrize(("context", "target"), [([0, 1], [2, 3]), ([1, 13, 12], [3, 14, 15]), ([12], [13])])
def test_questions_prepared_one_by_one_give_the_same_posterior(scales, context, target):
    memory, _ = GroupPrior.from_groups(SPARSE, GROUPS, np.arange(12))
    known = KeyedGroupPrior(replace(memory, scales=scales), {str(q): q for q in range(12)})
    x, sizes = np.split(SPARSE.x.numpy(), SPARSE.offsets[1:-1]), np.diff(SPARSE.offsets)
    y = np.concatenate([np.random.default_rng(q).dirichlet(np.ones(sizes[q])) for q in context])
    index = known.question_index([str(q) for q in range(16)], sizes)
    view = PriorAtQuestions.of(known.prior, SPARSE.x.numpy(), sizes, index)
    want = view.posterior(np.asarray(context), y, np.asarray(target))

    def alone(questions):
        return [known.inputs(x[q], [sizes[q]], [str(q)])[0] for q in questions]

    got = known.condition_on(alone(context), y).posterior(PriorInputs.joined(alone(target)))
    np.testing.assert_allclose(got.shares, want.shares, atol=1e-6)
    np.testing.assert_allclose(got.sd, want.sd, atol=1e-6)
    np.testing.assert_array_equal(got.seen, want.seen)
