"""Fit the prior and choose its hyperparameters by leave-one-group-out cross-validation.

Only meta-train groups are used. Each of them in turn plays the new group and gives some of its answers as
context; the prior of the other groups predicts the rest, half of it as if the questions were unseen. The
hyperparameters themselves are described in ``scales.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.features import FeatureBlock
from gpo_ray.preferences.slates import Array, Ints
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.covariance import CrossCovariance, PriorInputs
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.guess_choice import with_guesses
from gpo_ray.prior.posterior import ConditionedPrior, Posterior
from gpo_ray.prior.response_model import NominalResponseModel
from gpo_ray.prior.scales import PriorScales

PREFERRED = PriorScales(noise=0.003, outputscale=0.02, pseudo_count=0.0)
"""Hyperparameters that suit small surveys of all kinds; a few answers should not move the choice far from
them."""
STEP_PENALTY, MAX_PENALISED_STEPS = 5.0, 2
"""For each grid step away from :data:`PREFERRED`, up to ``MAX_PENALISED_STEPS`` steps, the logarithm of the
squared error has to fall by ``STEP_PENALTY`` divided by the number of the meta-train groups' answers, because
chance alone moves it by as much where answers are few."""
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
OUTPUTSCALES = (0.0, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0)
PSEUDO_COUNTS = (0.0, 0.3, 1.0, 3.0)
SOFT_THRESHOLDS = (0.0, 1.0)
GROUP_SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)
RESPONSE_MODEL_WEIGHTS = (0.0, 0.3, 0.5)
SIMULATED_AND_ROLE_WEIGHTS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.5), (1.0, 1.0))
"""Values of ``simulated_weight`` and ``role_weight``."""
MAX_PRIOR_GROUPS = 10_000
"""Maximum number of meta-train groups that the prior keeps. The cost of computing the prior for an episode
grows with their number, while further groups add little information."""
TRIALS, MORE_TRIALS, MORE_TRIALS_GROUPS = 24, 96, 100
"""Number of trials, and the larger number that is used from ``MORE_TRIALS_GROUPS`` groups on, where each
trial is less informative."""
TARGETS = 100
"""Maximum number of target questions of a trial."""
SOFT_THRESHOLD_GROUPS = 100
"""Number of groups from which a soft threshold is tried; with fewer groups, the standard errors of
covariances are too coarse."""
RESPONSE_MODEL_GROUPS = 100
"""Number of groups from which a nominal response model may have weight; with fewer groups, its loadings
cannot be learnt."""
COVERAGE = 0.9
"""Fraction of the shares that the intervals shall hold."""


def fit_prior(
    arrays: PreferenceArrays,
    groups: Sequence[int],
    questions: Ints,
    context: int,
    with_cross_survey: bool = False,
    use_response_model: bool = True,
) -> PriorAtQuestions:
    """Fit the prior to the groups' answers, choose its hyperparameters, and evaluate it at all questions.

    Args:
        arrays: the data.
        groups: numbers of the meta-train groups; if there are more than ``MAX_PRIOR_GROUPS``, a random choice
            of as many is kept.
        questions: numbers of the training questions.
        context: number of context questions for which the hyperparameters are chosen.
        with_cross_survey: whether a context may consist of questions from another survey only. A second prior
            is then fitted for such contexts (:attr:`GroupPrior.cross_survey`); its hyperparameters are also
            chosen on contexts of seen questions.
        use_response_model: whether the nominal response model of people may have weight; traits cannot be
            estimated where no question of the context is seen.

    Raises:
        ConfigError: if the groups answered none of the questions.
    """
    if with_cross_survey and arrays.published is not None:
        other = _fit_cross_survey(arrays, arrays.published, groups, questions, context)
        own = fit_prior(arrays, groups, questions, context)
        both = own.prior.with_cross_survey(other.prior, arrays.published)
        return replace(own, prior=both, cross_survey=other)
    if len(groups) > MAX_PRIOR_GROUPS:
        groups = sorted(np.random.default_rng(0).choice(groups, MAX_PRIOR_GROUPS, replace=False).tolist())
    prior, question_index = GroupPrior.from_groups(arrays, groups, questions)
    x, sizes = arrays.x.numpy(), np.diff(arrays.offsets)
    at_questions = PriorAtQuestions.of(prior, x, sizes, question_index, cross_fit=True)
    at_questions = with_guesses(at_questions.with_expected(), arrays)
    return calibrated(at_questions, arrays, questions, context, use_response_model=use_response_model)


@dataclass(frozen=True)
class _Trial:
    """A meta-train group that plays the new group, with its context and target questions."""

    group: int
    context: Ints
    target: Ints
    masked: Ints
    y: Array
    """Shares (C,) of the responses of the context questions."""
    sampling: Array
    """Sampling variances (C,) of these shares."""
    truth: Array
    """Shares (T,) of the responses of the target questions."""

    def prepared(self, at_questions: PriorAtQuestions) -> _PreparedTrial:
        """Compute the trial's covariances with the hyperparameters that the prior has."""
        context, target = at_questions.joint_inputs(self.context, self.target, self.group, self.masked)
        prior = at_questions.prior
        given = prior.condition_on(context, self.y, self.sampling, at_questions.roles.get(self.group))
        cross_covariance = CrossCovariance.of(target, context, prior.scales, prior.kernel)
        return _PreparedTrial(given.bare, target.bare, cross_covariance, self.truth)


@dataclass(frozen=True)
class _PreparedTrial:
    """A trial with its covariances, predicted for any noise, outputscale and response model's weight."""

    given: ConditionedPrior
    target: PriorInputs
    cross_covariance: CrossCovariance
    truth: Array

    def posterior(self, scales: PriorScales) -> Posterior:
        """Predict the trial's targets with other hyperparameters."""
        return self.given.with_scales(scales).posterior(self.target, self.cross_covariance)


def calibrated(
    at_questions: PriorAtQuestions,
    arrays: PreferenceArrays,
    questions: Ints,
    context: int,
    seed: int = 0,
    use_response_model: bool = True,
) -> PriorAtQuestions:
    """Return the same prior with the hyperparameters that predict left-out groups best.

    Predictions are compared by the squared error of shares. The widths of 90 % intervals follow from the same
    errors, relative to the predicted standard deviation (conformal prediction normalised by difficulty: Lei
    et al. 2018, section 5).

    Args:
        at_questions: the prior at all questions of ``arrays``, cross-fitted; the prior has its ``groups``.
        arrays: the data.
        questions: numbers of the training questions.
        context: number of context questions.
        seed: seed for the choice of groups and contexts.
        use_response_model: whether the nominal response model may have weight, as in :func:`fit_prior`.
    """
    prior = at_questions.prior
    mixed = bool(prior.single.any() and not prior.single.all())
    same_kind = [g for g, single in zip(prior.groups, prior.single, strict=True) if single or not mixed]
    guessed = None
    if at_questions.guesses is not None:
        guessed = np.flatnonzero(at_questions.guesses.guessed[arrays.offsets[:-1]])
    trials = list(_trials(arrays, same_kind, questions, context, seed, guessed))
    if not trials:
        return at_questions
    weights: Sequence[float] = RESPONSE_MODEL_WEIGHTS
    if not use_response_model or len(prior.groups) < RESPONSE_MODEL_GROUPS:
        weights = weights[:1]
    if len(weights) > 1:  # loadings that are fitted to the groups of the trials would know their answers
        others = ~np.isin(prior.groups, [t.group for t in trials])
        fitted_to_others = NominalResponseModel.fit(prior.shares[others], prior.sizes)
        at_questions = replace(at_questions, prior=replace(prior, response_model=fitted_to_others))
    answers = sum(len(np.intersect1d(arrays.answered[g], questions)) for g in prior.groups)
    search = _ScalesSearch(at_questions, trials, STEP_PENALTY / max(1, answers))
    best = search.all(GROUP_SCALES if mixed else GROUP_SCALES[:1], weights)
    scales = replace(best, widths=search.widths(best))
    fitted = NominalResponseModel.fit(prior.shares, prior.sizes) if best.response_model_weight else None
    return replace(at_questions, prior=replace(prior, response_model=fitted, scales=scales))


def _trials(
    arrays: PreferenceArrays,
    groups: Sequence[int],
    questions: Ints,
    context: int,
    seed: int,
    guessed: Ints | None = None,
) -> list[_Trial]:
    """Draw trials from some meta-train groups; every second target question is masked.

    Where only few questions are ``guessed``, that is, have a guess as unseen ones should, these are the
    masked targets.
    """
    rng = np.random.default_rng([seed, 1])
    result = []
    most = TRIALS if len(groups) < MORE_TRIALS_GROUPS else MORE_TRIALS
    # few groups are used several times with different contexts, because the choice of a context matters much
    for g in itertools.islice(itertools.cycle(rng.permutation(groups)), most):
        mine = rng.permutation(np.intersect1d(arrays.answered[g], questions))
        cut = min(context, len(mine) // 2)
        if cut < 1:
            continue
        target = mine[cut:]
        if guessed is not None:
            target = target[np.argsort(~np.isin(target, guessed), kind="stable")]
        target = target[:TARGETS]
        few = target[:0] if guessed is None else target[np.isin(target, guessed)]
        result.append(
            _Trial(
                group=int(g),
                context=mine[:cut],
                target=target,
                masked=few if 0 < len(few) <= len(target) // 2 else target[::2],
                y=arrays.shares_of(g, mine[:cut]),
                sampling=arrays.sampling_of(g, mine[:cut]),
                truth=arrays.shares_of(g, target),
            )
        )
    return result


def collect_prior(
    arrays: PreferenceArrays, groups: Sequence[int], questions: Ints, context: int
) -> tuple[GroupPrior, Ints]:
    """Fit the prior that a bundle keeps, the same as from :func:`fit_prior` with ``with_cross_survey``.

    It takes less memory, because the prior for contexts of another survey is not kept at all questions.

    Returns:
        The prior, and the number in the prior of each question of the data set, -1 for questions outside it.

    Raises:
        ConfigError: if the groups answered none of the questions.
    """
    other = None
    if arrays.published is not None:  # only the prior is kept, not its evaluation at all questions
        other = _fit_cross_survey(arrays, arrays.published, groups, questions, context).prior
    own = fit_prior(arrays, groups, questions, context)
    if other is None or arrays.published is None:
        return own.prior, own.question_index
    return own.prior.with_cross_survey(other, arrays.published), own.question_index


def _fit_cross_survey(
    arrays: PreferenceArrays, block: FeatureBlock, groups: Sequence[int], questions: Ints, context: int
) -> PriorAtQuestions:
    """Fit the prior for contexts of another survey, which reads one block of the embeddings' columns."""
    return fit_prior(arrays.of_block(block), groups, questions, context, use_response_model=False)


@dataclass(frozen=True)
class _ScalesSearch:
    """A search for the hyperparameters with the smallest errors on the trials."""

    at_questions: PriorAtQuestions
    trials: Sequence[_Trial]
    caution: float
    """Penalty of one grid step; see :data:`STEP_PENALTY`."""
    kept: dict[PriorScales, list[_PreparedTrial]] = field(default_factory=dict)
    """The trials that were prepared last, by the hyperparameters that they were prepared for."""

    def all(self, group_scales: Sequence[float], response_model_weights: Sequence[float]) -> PriorScales:
        """Choose the best hyperparameters, one after the other.

        Args:
            group_scales: values of ``group_scale`` to choose from.
            response_model_weights: values of ``response_model_weight`` to choose from.
        """
        many = len(self.at_questions.prior.groups) >= SOFT_THRESHOLD_GROUPS
        start = PriorScales(outputscale=OUTPUTSCALES[1])
        thresholds = [replace(start, soft_threshold=t) for t in SOFT_THRESHOLDS[: None if many else 1]]
        best = self.best([self.best_apart(s, "noise", NOISES) for s in thresholds])
        best = self.best_apart(best, "outputscale", OUTPUTSCALES)
        best = self.best([replace(best, pseudo_count=e) for e in PSEUDO_COUNTS], self.caution)
        best = self.best([replace(best, group_scale=s) for s in group_scales])
        if self.at_questions.guesses is not None and self.at_questions.guesses.voices:
            weights = SIMULATED_AND_ROLE_WEIGHTS
            each = [replace(best, simulated_weight=s, role_weight=r) for s, r in weights]
            best = self.best([self.best_apart(s, "noise", NOISES) for s in each])
        best = self.best_apart(best, "noise", NOISES)
        return self.best([replace(best, response_model_weight=w) for w in response_model_weights])

    def widths(self, scales: PriorScales) -> tuple[float, float]:
        """Return half widths of 90 % intervals in standard deviations, for seen and for unseen questions."""
        ratios: dict[bool, list[Array]] = {True: [], False: []}
        for trial in self.prepared(scales):
            found = trial.posterior(scales)
            ratio = np.abs(trial.truth - found.shares) / found.sd
            for seen in ratios:
                ratios[seen].append(ratio[found.seen == seen])
        return _quantile(np.concatenate(ratios[True])), _quantile(np.concatenate(ratios[False]))

    def prepared(self, scales: PriorScales) -> list[_PreparedTrial]:
        """Prepare the trials, or return them as prepared last.

        They can be used again for hyperparameters that differ only in noise, outputscale, the weights of
        the response model, of simulated groups and of roles, and the widths of intervals.
        """
        model = self.at_questions.prior.response_model
        weight = 0.0 if model is None else RESPONSE_MODEL_WEIGHTS[-1]
        same = replace(
            scales,
            noise=1.0,
            outputscale=1.0,
            unseen_noise=None,
            unseen_outputscale=None,
            response_model_weight=weight,
            simulated_weight=1.0,
            role_weight=0.0,
            widths=(0, 0),
        )
        if same not in self.kept:
            self.kept.clear()
            at_questions = replace(self.at_questions, prior=replace(self.at_questions.prior, scales=same))
            self.kept[same] = [t.prepared(at_questions) for t in self.trials]
        return self.kept[same]

    def best(self, choices: Sequence[PriorScales], caution: float = 0.0) -> PriorScales:
        """Return the choice with the smallest product of the errors on seen and on unseen questions.

        The product weighs relative changes, since the errors on unseen questions are larger.

        Args:
            choices: hyperparameters in order, the preferred ones first.
            caution: penalty of each step away from the first choice, up to ``MAX_PENALISED_STEPS`` steps.
        """
        if len(choices) == 1:
            return choices[0]
        errors = [
            float(np.log(self._errors(s)).sum()) + min(i, MAX_PENALISED_STEPS) * caution
            for i, s in enumerate(choices)
        ]
        return choices[int(np.argmin(errors))]

    def best_apart(
        self, scales: PriorScales, name: Literal["noise", "outputscale"], values: tuple[float, ...]
    ) -> PriorScales:
        """Choose the values of one hyperparameter for seen and for unseen questions separately."""

        def having(seen: float, unseen: float) -> PriorScales:
            changed: dict[str, Any] = {name: seen, f"unseen_{name}": unseen}
            return replace(scales, **changed)

        steps = np.abs(np.arange(len(values)) - values.index(getattr(PREFERRED, name)))
        away = np.minimum(steps, MAX_PENALISED_STEPS)
        errors = np.log([self._errors(having(v, v)) for v in values]) + self.caution * away[:, None]
        seen, unseen = (values[int(i)] for i in np.argmin(errors, axis=0))
        return having(seen, unseen)

    def _errors(self, scales: PriorScales) -> tuple[float, float]:
        """Return the mean squared errors of shares on seen and on unseen questions.

        If the trials have questions of one kind only, both numbers are the error on all questions.
        """
        found = [(t.posterior(scales), t.truth) for t in self.prepared(scales)]
        squared = np.concatenate([(p.shares - truth) ** 2 for p, truth in found])
        seen = np.concatenate([p.seen for p, _ in found])
        parts = (seen, ~seen) if seen.any() and not seen.all() else (slice(None), slice(None))
        return float(squared[parts[0]].mean()), float(squared[parts[1]].mean())


def _quantile(ratios: Array) -> float:
    """Return the half width that holds ``COVERAGE`` of the ratios, or the default if there are none."""
    return float(np.quantile(ratios, COVERAGE)) if len(ratios) else PriorScales().widths[0]
