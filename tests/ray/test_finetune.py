"""Fine-tuning on Ray Train: two workers take the steps of one."""

import numpy as np
import pytest
from finetuned_groups import answers, base_model

from gpo_ray.errors import ConfigError
from gpo_ray.finetuning.config import InContextConfig
from gpo_ray.finetuning.driver import InContextJob, fit_in_context_on_ray
from gpo_ray.finetuning.in_context import fit_in_context
from gpo_ray.lm.find import find_model

pytestmark = [pytest.mark.ray, pytest.mark.minutes]
SHORT = {"max_steps": 8, "eval_steps": 4, "targets": 2, "shown": (1, 2), "validation_stems": 2}
GROUPS = {"a": answers(9), "b": answers(9, shares=(0.2, 0.7, 0.1))}


def job(folder, **changes):
    config = InContextConfig(learning_rate=1e-2, per_device_train_batch_size=1, **SHORT)
    return InContextJob(find_model(str(folder)), GROUPS, {"c": answers(9)}, config, **changes)


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_two_workers_train_the_adapter_of_one(cluster, tmp_path, tiny_language_model, zero_stage):
    wanted = job(tiny_language_model, zero_stage=zero_stage)
    found = fit_in_context_on_ray(wanted, 2, str(tmp_path), "run")
    alone = wanted.config.model_copy(update={"per_device_train_batch_size": 2})
    one = fit_in_context(base_model(tiny_language_model), GROUPS, {"c": answers(9)}, alone)
    assert (found.record.steps, found.record.best_step) == (one.record.steps, one.record.best_step)
    assert found.record.base_loss == pytest.approx(one.record.base_loss, abs=1e-5)
    assert found.record.best_loss == pytest.approx(one.record.best_loss, abs=1e-3)
    for name, weights in one.weights.items():
        np.testing.assert_allclose(found.weights[name], weights, atol=5e-3, err_msg=name)


def test_what_cannot_be_trained_is_one_error(cluster, tmp_path, tiny_language_model):
    with pytest.raises(ConfigError, match="zero stage 3"):
        job(tiny_language_model, zero_stage=3)
    nobody = InContextJob(find_model(str(tiny_language_model)), {}, {}, InContextConfig(**SHORT))
    with pytest.raises(ConfigError, match="two answers at least"):
        fit_in_context_on_ray(nobody, 1, str(tmp_path), "nobody")
