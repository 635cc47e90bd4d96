"""Choosing the scales of the prior by leaving meta-train groups out, one at a time.

Everything here looks at meta-train groups only: each in turn plays the new group, gives some of its
answers as context, and the others predict the rest, half of it as if the questions were new.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from gpo_ray.model.episodes import Ints, PreferenceArrays
from gpo_ray.model.kernel import Array
from gpo_ray.model.memory import MANY, GroupMemory, remember
from gpo_ray.model.posterior import Common, Conditioned, MemoryView, Posterior, Side
from gpo_ray.model.scales import PriorScales
from gpo_ray.model.traits import Traits

PREFERRED = PriorScales(noise=0.003, semantic=0.02, evidence=0.0)
"""Scales that serve small surveys of all kinds well, from which few answers should not lead far away."""
CAUTION, FAR = 5.0, 2
"""What the logarithm of the squared error must fall by, for each step of a grid away from there, ``FAR`` at
most, times the meta-train groups' answers: chance moves it by so much where there are few."""
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SEMANTICS = (0.0, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0)
EVIDENCES = (0.0, 0.3, 1.0, 3.0)
THRESHOLDS = (0.0, 1.0)
STRETCHES = (1.0, 2.0, 4.0, 8.0, 16.0)
TRAITS = (0.0, 0.3, 0.5)
MOST_GROUPS = 10_000
"""Meta-train groups in memory: what an episode's prior costs grows with them, and more tell little more."""
TRIALS, TARGETS = 24, 100
"""Trials (four times as many where there are ``MANY`` groups), and most target questions of each."""
COVERAGE = 0.9


def fit_memory(
    arrays: PreferenceArrays,
    groups: Sequence[int],
    questions: Ints,
    context: int,
    elsewhere: bool = False,
    traits: bool = True,
) -> MemoryView:
    """The answers of ``groups`` to ``questions`` as seen from the whole data set, with its scales chosen.

    Args:
        arrays: the data.
        groups: numbers of the meta-train groups; of more than ``MOST_GROUPS`` a random choice is kept.
        questions: numbers of the training questions.
        context: number of context questions for which to choose the scales.
        elsewhere: whether groups may be asked about another survey alone, so that there are to be scales
            for that too (:attr:`GroupMemory.elsewhere`): chosen, as the others, on contexts in memory.
        traits: whether people's traits may count; they cannot be told where no question is in memory.

    Raises:
        ConfigError: if the groups answered none of the questions.
    """
    if elsewhere and arrays.published is not None:
        there = _fit_elsewhere(arrays, groups, questions, context)
        here = fit_memory(arrays, groups, questions, context)
        return replace(here, memory=_joined(here.memory, there.memory), elsewhere=there)
    if len(groups) > MOST_GROUPS:
        groups = sorted(np.random.default_rng(0).choice(groups, MOST_GROUPS, replace=False).tolist())
    memory, place = remember(arrays, groups, questions)
    view = memory.view(arrays.x.numpy(), np.diff(arrays.offsets), place, cross_fit=True)
    expected = view.mean[np.repeat(place >= 0, view.sizes)]
    view = replace(view, memory=replace(memory, expected=expected))
    return calibrated(view, arrays, questions, context, traits=traits)


@dataclass(frozen=True)
class _Trial:
    """A meta-train group in the role of a new one."""

    group: int
    context: Ints
    target: Ints
    hidden: Ints
    y: Array
    """Shares on the context."""
    truth: Array
    """Shares on the targets."""

    def ready(self, view: MemoryView) -> _Ready:
        context, target = view.sides(self.context, self.target, self.group, self.hidden)
        given = Conditioned.given(context, self.y, view.memory, view.kernel)
        common = Common.of(target, context, view.memory.scales, view.kernel)
        return _Ready(replace(given, context=context.bare), target.bare, common, self.truth)


@dataclass(frozen=True)
class _Ready:
    """A trial of which only noise, semantic variance and the traits' weight are left to choose."""

    given: Conditioned
    target: Side
    common: Common
    truth: Array

    def posterior(self, scales: PriorScales) -> Posterior:
        return replace(self.given, scales=scales).posterior(self.target, self.common)


def calibrated(
    view: MemoryView,
    arrays: PreferenceArrays,
    questions: Ints,
    context: int,
    seed: int = 0,
    traits: bool = True,
) -> MemoryView:
    """The same view with the scales that predict left-out groups best (squared error of shares).

    The widths of 90 % intervals follow from the same errors, relative to the predicted standard
    deviation (conformal prediction normalised by difficulty: Lei et al. 2018, section 5).

    Args:
        view: of a memory that knows the numbers of its groups, cross-fitted, from all questions of
            ``arrays``.
        arrays: the data.
        questions: the training questions.
        context: number of context questions.
        seed: of the choice of groups and contexts.
        traits: as in :func:`fit_memory`.
    """
    memory = view.memory
    mixed = bool(memory.single.any() and not memory.single.all())
    alike = [g for g, single in zip(memory.groups, memory.single, strict=True) if single or not mixed]
    trials = list(_trials(arrays, alike, questions, context, seed))
    if not trials:
        return view
    thresholds = THRESHOLDS if len(memory.groups) >= MANY else THRESHOLDS[:1]
    weights = TRAITS if traits and len(memory.groups) >= MANY else TRAITS[:1]
    if len(weights) > 1:  # loadings fitted to those who are tried would know their answers
        others = ~np.isin(memory.groups, [t.group for t in trials])
        view = replace(view, memory=replace(memory, traits=Traits.fit(memory.shares[others], memory.sizes)))
    answers = sum(len(np.intersect1d(arrays.answered[g], questions)) for g in memory.groups)
    search = _Search(view, trials, CAUTION / max(1, answers))
    start = PriorScales(semantic=SEMANTICS[1])
    best = search.together([search.apart(replace(start, threshold=t), "noise", NOISES) for t in thresholds])
    best = search.apart(best, "semantic", SEMANTICS)
    best = search.together([replace(best, evidence=e) for e in EVIDENCES], search.caution)
    if mixed:
        best = search.together([replace(best, stretch=s) for s in STRETCHES])
    best = search.apart(best, "noise", NOISES)
    best = search.together([replace(best, traits=w) for w in weights])
    ratios: dict[bool, list[Array]] = {True: [], False: []}
    for trial in search.ready(best):
        found = trial.posterior(best)
        ratio = np.abs(trial.truth - found.shares) / found.sd
        for known in ratios:
            ratios[known].append(ratio[found.known == known])
    answered, new = (_quantile(np.concatenate(ratios[known])) for known in (True, False))
    fitted = Traits.fit(memory.shares, memory.sizes) if best.traits else None
    scales = replace(best, widths=(answered, new))
    return replace(view, memory=replace(memory, traits=fitted, scales=scales))


def _trials(
    arrays: PreferenceArrays, groups: Sequence[int], questions: Ints, context: int, seed: int
) -> list[_Trial]:
    rng = np.random.default_rng([seed, 1])
    result = []
    most = TRIALS if len(groups) < MANY else 4 * TRIALS
    # few groups come several times, each time with another context: which one is drawn matters much
    for g in itertools.islice(itertools.cycle(rng.permutation(groups)), most):
        mine = rng.permutation(np.intersect1d(arrays.answered[g], questions))
        cut = min(context, len(mine) // 2)
        if cut < 1:
            continue
        target = mine[cut : cut + TARGETS]
        result.append(
            _Trial(
                group=int(g),
                context=mine[:cut],
                target=target,
                hidden=target[::2],
                y=arrays.shares_of(g, mine[:cut]),
                truth=arrays.shares_of(g, target),
            )
        )
    return result


def collect_memory(
    arrays: PreferenceArrays, groups: Sequence[int], questions: Ints, context: int
) -> tuple[GroupMemory, Ints]:
    """The memory alone of :func:`fit_memory` with ``elsewhere``, as a bundle keeps it, in less room.

    Returns:
        The memory, and the number in it of each question of the data set, -1 for those not in it.

    Raises:
        ConfigError: as :func:`fit_memory`.
    """
    there = None
    if arrays.published is not None:
        there = _fit_elsewhere(arrays, groups, questions, context).memory  # its view need not stay
    here = fit_memory(arrays, groups, questions, context)
    return here.memory if there is None else _joined(here.memory, there), here.place


def _fit_elsewhere(
    arrays: PreferenceArrays, groups: Sequence[int], questions: Ints, context: int
) -> MemoryView:
    published = replace(arrays, x=arrays.x[:, : arrays.published], published=None)
    return fit_memory(published, groups, questions, context, traits=False)


def _joined(here: GroupMemory, there: GroupMemory) -> GroupMemory:
    """One memory; both hold the same answers."""
    return replace(here, elsewhere=replace(there, shares=here.shares))


@dataclass(frozen=True)
class _Search:
    """Choosing among scales by the errors on trials."""

    view: MemoryView
    trials: Sequence[_Trial]
    caution: float
    """As :data:`CAUTION`, for one step."""
    kept: dict[PriorScales, list[_Ready]] = field(default_factory=dict)
    """What was made ready last."""

    def ready(self, scales: PriorScales) -> list[_Ready]:
        """The trials, for scales that differ in noise, semantic variance and the traits' weight only."""
        traits = 0.0 if self.view.memory.traits is None else TRAITS[-1]
        same = replace(
            scales, noise=1.0, semantic=1.0, new_noise=None, new_semantic=None, traits=traits, widths=(0, 0)
        )
        if same not in self.kept:
            self.kept.clear()
            view = replace(self.view, memory=replace(self.view.memory, scales=same))
            self.kept[same] = [t.ready(view) for t in self.trials]
        return self.kept[same]

    def together(self, choices: Sequence[PriorScales], caution: float = 0.0) -> PriorScales:
        """The best by the product of the errors on known and on new questions: the latter are larger.

        Args:
            choices: in order, the preferred one first.
            caution: of a step from one to the next.
        """
        if len(choices) == 1:
            return choices[0]
        errors = [float(np.log(self._errors(s)).sum()) + min(i, FAR) * caution for i, s in enumerate(choices)]
        return choices[int(np.argmin(errors))]

    def apart(
        self, scales: PriorScales, name: Literal["noise", "semantic"], values: tuple[float, ...]
    ) -> PriorScales:
        """With the value of one scale that is best for known questions, and that for new ones."""

        def having(known: float, new: float) -> PriorScales:
            changed: dict[str, Any] = {name: known, f"new_{name}": new}
            return replace(scales, **changed)

        steps = np.abs(np.arange(len(values)) - values.index(getattr(PREFERRED, name)))
        away = np.minimum(steps, FAR)
        errors = np.log([self._errors(having(v, v)) for v in values]) + self.caution * away[:, None]
        known, new = (values[int(i)] for i in np.argmin(errors, axis=0))
        return having(known, new)

    def _errors(self, scales: PriorScales) -> tuple[float, float]:
        """Mean squared error of shares on known and on new questions; that of all if a kind is missing."""
        found = [(t.posterior(scales), t.truth) for t in self.ready(scales)]
        squared = np.concatenate([(p.shares - truth) ** 2 for p, truth in found])
        known = np.concatenate([p.known for p, _ in found])
        parts = (known, ~known) if known.any() and not known.all() else (slice(None), slice(None))
        return float(squared[parts[0]].mean()), float(squared[parts[1]].mean())


def _quantile(ratios: Array) -> float:
    return float(np.quantile(ratios, COVERAGE)) if len(ratios) else PriorScales().widths[0]
