"""Evaluate the prior at the responses of some questions, for any group and any context.

:class:`PriorAtQuestions` computes means, residuals and whitened cross-covariances. Covariances are computed
in ``covariance.py``, posteriors in ``posterior.py`` and means of unseen questions in ``extrapolation.py``.

Shapes: G meta-train groups, M responses of seen questions, N responses of the questions asked about, N' those
of unseen ones, L groups that are left out in turn, C context rows, T target rows, E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.slates import Array, Floats, Ints, spans
from gpo_ray.prior.covariance import EmbeddedResponses, GroupDeviations, Numbering, PriorInputs
from gpo_ray.prior.cross_fitting import extrapolate
from gpo_ray.prior.extrapolation import Extrapolation
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.kernel import RBFKernel, columns
from gpo_ray.prior.posterior import Posterior

TABLE_BYTES = 1 << 28
"""Size in bytes of the largest table of similarities between all pairs of responses, enough for 5,792
responses. With more responses, similarities are computed when they are needed."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The similarities of all pairs of responses, from their embeddings ``x`` (N, E)."""

    x: NDArray[np.float32]
    kernel: RBFKernel

    @cached_property
    def similarity(self) -> Array | None:
        """Table (N, N) of similarities, computed at the first use and kept; None if it would be too large."""
        if 8 * len(self.x) ** 2 > TABLE_BYTES:
            return None
        x = self.kernel.standardized(self.x)
        return self.kernel.between(x, x)

    def __getstate__(self) -> dict[str, Any]:
        # another process computes the table in less time than it takes to send it
        return {"x": self.x, "kernel": self.kernel}


@dataclass(frozen=True)
class PriorAtQuestions:
    """The prior at N responses of some questions; made by :meth:`of`.

    ``question_index`` is the number of each question in the prior, and ``response_index`` (N,) that of each
    response; both are -1 for unseen questions, which no meta-train group answered. ``extrapolated`` is the
    prediction from the embeddings as if all questions were unseen; its ``whitened`` (M, N') has columns for
    the responses of unseen questions only. ``pairs`` holds the similarities, which are the same for all
    groups. ``cross_survey`` is the prior's ``cross_survey``, evaluated at the same questions. ``numbering``
    stands for the questions' numbers, which are the same in the copies that ``dataclasses.replace`` makes.
    ``guesses`` are a language model's of the N responses, None if the prior has none; ``roles`` is the number
    of the voice that simulates each group, by the group's number in the data set.
    """

    prior: GroupPrior
    x: NDArray[np.float32]
    sizes: Ints
    question_index: Ints
    offsets: Ints
    response_index: Ints
    extrapolated: Extrapolation
    pairs: Pairs
    cross_survey: PriorAtQuestions | None = None
    numbering: Numbering = field(default_factory=Numbering)
    guesses: GuessFeatures | None = None
    roles: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        prior: GroupPrior,
        x: NDArray[np.float32],
        sizes: Ints,
        question_index: Ints,
        cross_fit: bool = False,
        guesses: GuessFeatures | None = None,
        roles: Mapping[int, int] | None = None,
    ) -> PriorAtQuestions:
        """Evaluate a prior at some questions.

        Args:
            prior: the prior.
            x: (N, E) embeddings of their responses.
            sizes: number of responses of each question.
            question_index: number of each question in the prior, -1 for unseen questions.
            cross_fit: whether seen questions are also extrapolated from the other questions, as if they were
                unseen; this is needed where a group is left out or a question masked.
            guesses: a language model's guesses of unseen questions; the prior has those of the seen ones.
            roles: the number of the voice that simulates each group, by the group's number in the data set.
        """
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        seen = np.flatnonzero(question_index >= 0)
        response_index = np.full(len(x), -1)
        response_index[spans(offsets, seen)] = spans(prior.offsets, question_index[seen])
        cross_survey = None
        if prior.cross_survey is not None:
            other, block = prior.cross_survey.prior, prior.cross_survey.block
            cross_survey = cls.of(other, block.of(x), sizes, question_index, guesses=guesses, roles=roles)
        known = None
        if prior.guesses is not None:
            known = prior.guesses.features.at(response_index).or_else(guesses)
        return cls(
            prior=prior,
            x=x,
            sizes=sizes,
            question_index=question_index,
            offsets=offsets,
            response_index=response_index,
            extrapolated=extrapolate(prior, x, offsets, response_index, question_index, cross_fit, known),
            pairs=Pairs(x, prior.kernel),
            cross_survey=cross_survey,
            guesses=known,
            roles={} if roles is None or known is None else roles,
        )

    def posterior(
        self,
        context: Ints,
        y: Array,
        target: Ints,
        leave_out: int | None = None,
        masked: Ints | None = None,
        sampling: Array | None = None,
    ) -> Posterior:
        """Compute the posterior of a group's shares, given its answers.

        Args:
            context: numbers of the questions that the group answered.
            y: (C,) the group's shares of the responses of these questions, end to end.
            target: numbers of the questions to predict.
            leave_out: number of a group in the data set whose answers the prior does not use, so that
                training does not see them.
            masked: target questions to treat as unseen.
            sampling: (C,) sampling variances of ``y``, as in :meth:`GroupPrior.condition_on`.
        """
        if self.cross_survey is not None and (self.question_index[context] < 0).all():
            return self.cross_survey.posterior(context, y, target, leave_out, masked, sampling)
        given, asked = self.joint_inputs(context, target, leave_out, masked)
        role = None if leave_out is None else self.roles.get(leave_out)
        return self.prior.condition_on(given, y, sampling, role).posterior(asked)

    def with_guesses(
        self, prior: GroupPrior, guesses: GuessFeatures, roles: Mapping[int, int]
    ) -> PriorAtQuestions:
        """Return the same, cross-fitted, with guesses; questions without one are not extrapolated again.

        Args:
            prior: this prior with its guesses.
            guesses: the guesses of all N responses.
            roles: as in :meth:`of`.
        """
        extrapolated = extrapolate(
            prior,
            self.x,
            self.offsets,
            self.response_index,
            self.question_index,
            True,
            guesses,
            self.extrapolated,
        )
        return replace(self, prior=prior, extrapolated=extrapolated, guesses=guesses, roles=roles)

    def with_expected(self) -> PriorAtQuestions:
        """Return the same, whose prior keeps the extrapolated means of its seen questions."""
        expected = self.extrapolated.mean[self.response_index >= 0]
        return replace(self, prior=replace(self.prior, expected=expected))

    def joint_inputs(
        self, context: Ints, target: Ints, leave_out: int | None = None, masked: Ints | None = None
    ) -> tuple[PriorInputs, PriorInputs]:
        """Return the prior at the context and at the targets, from which their covariance is then computed.

        See :meth:`posterior` for the arguments.
        """
        table = self.pairs.similarity
        return self._inputs(context, leave_out, None, table), self._inputs(target, leave_out, masked, table)

    def inputs(
        self, questions: Ints, leave_out: int | None = None, masked: Ints | None = None
    ) -> PriorInputs:
        """Return the prior at some questions, for covariances with any other inputs of the same prior.

        See :meth:`posterior` for the other arguments.
        """
        return self._inputs(questions, leave_out, masked, None)

    def _inputs(
        self, questions: Ints, leave_out: int | None, masked: Ints | None, table: Array | None
    ) -> PriorInputs:
        rows, sizes = spans(self.offsets, questions), self.sizes[questions]
        out = None if leave_out is None else self.prior.group_rows.get(leave_out)
        shares, missing = self._answers(rows, out)
        count = len(shares) - np.count_nonzero(missing, axis=0)
        seen = count > 0
        if masked is not None:
            seen &= ~np.repeat(np.isin(questions, masked), sizes)
        extrapolated = self._extrapolated_mean(rows, out)
        weighed = self._weighed_mean(shares, count, extrapolated)
        mean = np.where(seen, weighed, extrapolated)
        simulated, guess_scale = self._guessed(rows, sizes, seen, mean)
        return PriorInputs(
            numbering=self.numbering,
            questions=questions,
            question_index=self.question_index[questions],
            sizes=sizes,
            seen=seen,
            mean=mean,
            conditional_variance=np.where(seen, 0.0, self.extrapolated.conditional_variance[rows]),
            deviations=self._deviations(rows, out, seen, shares, missing, weighed),
            embedded=EmbeddedResponses(
                x=self.prior.kernel.standardized(self.x[rows] if table is None else self.x[:0]),
                whitened=None if seen.all() else self._whitened(rows),
                rows=rows,
                table=table,
            ),
            simulated=simulated,
            guess_scale=guess_scale,
        )

    def _guessed(self, rows: Ints, sizes: Ints, seen: NDArray[np.bool_], mean: Array) -> tuple[Floats, Array]:
        """Return the simulated groups' deviations (V, n) at some rows, and the scale (n,) of guesses."""
        known = self.prior.guesses
        if known is None or self.guesses is None:
            return np.zeros((0, len(rows))), np.ones(len(rows))
        features = self.guesses.at(rows)
        scale = np.where(seen, 1.0, known.scale(features))
        return known.deviations(features, mean, sizes), scale

    def _answers(self, rows: Ints, out: int | None) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the groups' shares (G, n) at some rows, and a mask (G, n) of the missing ones.

        Missing shares are 0. All shares of the group that is left out are missing.
        """
        response_index = self.response_index[rows]
        shares = columns(self.prior.shares, response_index)
        shares[:, response_index < 0] = np.nan
        if out is not None:
            shares[out] = np.nan
        missing = np.isnan(shares)
        np.copyto(shares, 0.0, where=missing)
        return shares, missing

    def _extrapolated_mean(self, rows: Ints, out: int | None) -> Array:
        """Return the means (n,) at some rows as if their questions were unseen.

        They are estimated without the group that is left out, where such estimates were made.
        """
        found = self.extrapolated
        return (
            found.mean[rows]
            if out is None or not len(found.leave_one_out_mean)
            else found.leave_one_out_mean[out, rows]
        )

    def _weighed_mean(self, shares: Floats, count: Ints, extrapolated: Array) -> Array:
        """Average the answering groups' shares and ``pseudo_count`` times the extrapolated mean.

        Returns:
            (n,) mean shares.
        """
        pseudo_count = np.where(np.isnan(extrapolated), 0.0, self.prior.scales.pseudo_count)
        total = shares.sum(0, dtype=np.float64) + np.nan_to_num(extrapolated) * pseudo_count
        return np.asarray(total / np.maximum(count + pseudo_count, 1e-9))

    def _deviations(
        self,
        rows: Ints,
        out: int | None,
        seen: NDArray[np.bool_],
        shares: Floats,
        missing: NDArray[np.bool_],
        mean: Array,
    ) -> GroupDeviations:
        """Return the groups' deviations from the mean; for unseen questions they are extrapolated.

        The tables ``shares`` and ``missing`` (G, n) are overwritten to save memory, since they are large when
        the groups are many people.
        """
        residual = shares
        residual -= mean
        np.copyto(residual, 0.0, where=missing)
        if not seen.all():
            residual[:, ~seen] = self._extrapolated_deviation(rows[~seen], out)
            missing[:, ~seen] = False
        if out is not None:
            missing[out] = True
        if self.prior.scales.group_scale != 1:
            residual *= np.where(self.prior.single, 1.0, self.prior.scales.group_scale)[:, None]
        return GroupDeviations.of(residual, missing, len(residual) - (out is not None))

    def _extrapolated_deviation(self, rows: Ints, out: int | None) -> Floats:
        """Return the groups' deviations (G, n), extrapolated as if the questions were unseen.

        The group that is left out has deviations of 0.
        """
        deviation = columns(self.extrapolated.deviation, rows)
        if out is not None:
            # without the group that is left out, the mean of the others moves by this
            own = deviation[out] / max(1, len(deviation) - 1)
            deviation += own
            deviation[out] = 0
        return deviation

    def _whitened(self, rows: Ints) -> NDArray[np.float32]:
        """Return the whitened cross-covariance (M, n) of some rows; it is 0 for seen questions."""
        unseen, every = self._unseen_index[rows], self.extrapolated.whitened
        whitened = np.zeros((len(every), len(rows)), np.float32)
        whitened[:, unseen >= 0] = every[:, unseen[unseen >= 0]]
        return whitened

    @cached_property
    def _unseen_index(self) -> Ints:
        """Column (N,) of each response in the whitened cross-covariance, -1 for seen questions."""
        unseen = self.response_index < 0
        return np.where(unseen, np.cumsum(unseen) - 1, -1)
