"""The methods that are compared with each other, in one registry.

A method (:class:`~gpo_ray.evaluation.methods.method.Method`) says what it needs, is fitted on a split and
predicts test groups' tasks. Plain baselines are short functions of one task. ``gpo``, ``gpo-robust`` and
``paper`` are meta-trained (meta_trained_transformer.py). ``lm-debiased`` to ``few-shot`` ask a language model
(prompted.py, few_shot.py); ``sft``, ``reward-model`` and ``in-context-finetune`` train one (finetuned.py).
"""

from __future__ import annotations

from gpo_ray.evaluation.methods.baseline import Baseline, BaselineTask
from gpo_ray.evaluation.methods.few_shot import FewShot
from gpo_ray.evaluation.methods.finetuned import (
    FineTuned,
    FittedInContext,
    fitted_reward_model,
    fitted_sft,
)
from gpo_ray.evaluation.methods.gaussian import gaussian_process
from gpo_ray.evaluation.methods.individuals import item_item, item_response
from gpo_ray.evaluation.methods.meta_train_answers import MetaTrainAnswers
from gpo_ray.evaluation.methods.meta_trained_transformer import MetaTrainedTransformer
from gpo_ray.evaluation.methods.method import (
    FitSettings,
    Fitted,
    LanguageModelSettings,
    Method,
    Needs,
    SplitData,
    SurveyTexts,
    TaskPrediction,
    TrainingCost,
)
from gpo_ray.evaluation.methods.plain import (
    context_mean,
    lm_base,
    majority,
    nearest_group,
    nearest_question,
    train_mean,
    uniform,
)
from gpo_ray.evaluation.methods.prompted import ALL_ORDERS, Prompted
from gpo_ray.evaluation.methods.regression import kernel, low_rank, ridge, ridge_mix
from gpo_ray.finetuning.config import InContextConfig, RewardModelConfig, SftConfig

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        MetaTrainedTransformer("gpo", preset="gpo"),
        MetaTrainedTransformer("gpo-guesses", preset="gpo", reads_guesses=True),
        MetaTrainedTransformer("gpo-robust", preset="gpo", objective="robust"),
        MetaTrainedTransformer("paper", preset="paper"),
        Baseline("uniform", uniform),
        Baseline("lm-base", lm_base),
        Prompted("lm-debiased", "none", "logprobs", ALL_ORDERS, exact=True),
        Prompted("lm-verbalized", "none", "distribution", orders=1),
        Prompted("lm-steered-qa", "qa"),
        Prompted("lm-steered-bio", "bio"),
        Prompted("lm-steered-portray", "portray"),
        FewShot(),
        FineTuned("sft", SftConfig(), fitted_sft),
        FineTuned("reward-model", RewardModelConfig(), fitted_reward_model),
        FineTuned("in-context-finetune", InContextConfig(), FittedInContext),
        Baseline("train-mean", train_mean),
        Baseline("context-mean", context_mean),
        Baseline("nearest-group", nearest_group),
        Baseline("ridge-mix", ridge_mix),
        Baseline("low-rank", low_rank),
        Baseline("gaussian-process", gaussian_process),
        Baseline("ridge", ridge),
        Baseline("kernel", kernel),
        Baseline("nearest-question", nearest_question),
        Baseline("majority", majority),
        Baseline("item-item", item_item),
        Baseline("item-response", item_response),
    )
}
"""All methods by name, in the order in which they are listed to users."""

__all__ = [
    "METHODS",
    "Baseline",
    "BaselineTask",
    "FitSettings",
    "Fitted",
    "LanguageModelSettings",
    "MetaTrainAnswers",
    "Method",
    "Needs",
    "SplitData",
    "SurveyTexts",
    "TaskPrediction",
    "TrainingCost",
]
