"""What jobs will take: counts that follow from the code, monotone sizes, and what cannot be done."""

import json

import pytest
import torch
from synthetic import arrays as joined
from synthetic import questions, survey
from tiny_model import save_tiny_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from gpo_ray.cli import app
from gpo_ray.config import load_train_config
from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.language_model import find_model
from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import build_episode, draw_tasks
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.planning.hardware import CORE, GPUS
from gpo_ray.planning.language_model import KNOWN, Shape, shape_of
from gpo_ray.planning.stages import Workload, _Training, embed_stage, serve_stage, train_stage

H100 = GPUS["h100"]
WORK = Workload(questions=1000, responses=4000)


def flops(call):
    """Operations of matrix products in ``call``, as torch counts them."""
    # in plain matrix products, since fused attention is not counted on CPUs
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def test_operations_of_the_encoder_are_those_that_torch_counts(tmp_path):
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    save_tiny_model(tmp_path, **sizes, num_hidden_layers=3)
    encoder = Encoder(find_model(str(tmp_path)), device="cpu", batch_tokens=10**6)
    slates = [(q.prompt, q.responses) for q in questions(60) if len(q.responses) == 3]
    counted = flops(lambda: encoder.encode(slates))
    prompts = [len(encoder.prompt_tokens(s)) for s in slates]
    answers = [len(t) for s in slates for t in encoder.response_tokens(s)]
    body = 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    shape = Shape(parameters=body + 257 * 64, body=body, width=64, layers=3, key_width=32)
    work = Workload(
        questions=len(slates),
        responses=len(answers),
        prompt_tokens=sum(prompts) / len(prompts),
        response_tokens=sum(answers) / len(answers),
    )
    stage = embed_stage(work, shape, CORE, 1, 10**6)
    assert stage.tokens == pytest.approx(sum(prompts) + sum(answers))
    assert counted == pytest.approx(stage.flops, rel=0.1)


@pytest.mark.parametrize("preset", ["paper", "gpo"])
def test_operations_of_a_step_are_those_that_torch_counts(preset):
    dataset = survey(groups=12, count=120)
    arrays = joined(dataset, width=48)
    config = load_train_config(preset)
    work = Workload(questions=120, responses=len(arrays.x), groups=12)
    shape = _Training.of(work, 48, config)
    training = list(range(round(shape.training)))
    if preset == "gpo":  # two poolings, end to end
        arrays = joined(dataset, width=96)
    model = GPOTransformer(arrays.x.shape[1], config.model.model_copy(update={"prior": "none"}))

    # sizes are drawn: that of the mean step is compared, not the mean of all
    middle = config.episodes.model_copy(update={"context_questions": (55, 55), "target_questions": (55, 55)})
    tasks = draw_tasks(arrays, training, torch.arange(120).numpy(), middle, (0, 0))
    episode = build_episode(arrays, tasks)
    counted = flops(
        lambda: sum(t.sum() for t in model(episode.x, episode.context, episode.target)).backward()
    )
    assert shape.step_flops == pytest.approx(counted, rel=0.1)


def test_shapes_are_those_of_the_published_models_and_between_them():
    for known in KNOWN:
        made = shape_of(known.parameters)
        assert made.model_dump() == pytest.approx(known.model_dump(), rel=1e-6)
    between = shape_of(5e9)
    assert 3072 < between.width < 4096
    assert 0.8 < between.body / 5e9 < 0.95
    assert shape_of(2e11).width == 8192


def hours(parameters, processor=H100, count=8, work=WORK, **more):
    return embed_stage(work, shape_of(parameters), processor, count, 32768, **more).hours


def test_more_work_takes_longer_and_more_processors_less():
    big = Workload(questions=10**6, responses=4 * 10**6)
    assert hours(8e9, work=big) > 10 * hours(8e9)
    assert hours(70e9, work=big) > 3 * hours(8e9, work=big)
    assert hours(8e9, count=1, work=big) == pytest.approx(8 * hours(8e9, work=big), rel=0.05)
    assert hours(8e9, GPUS["l4"], work=big) > 4 * hours(8e9, work=big)


def test_a_model_over_several_gpus_is_as_fast_as_on_one():
    big = Workload(questions=10**6, responses=4 * 10**6)
    stage = embed_stage(big, shape_of(70e9), H100, 8, 32768)
    assert (stage.workers, stage.processors) == (2, 6)
    # three GPUs instead of one for each copy: three times the price of what one that held it would take
    alone = embed_stage(big, shape_of(70e9), H100.model_copy(update={"memory": 400}), 1, 32768)
    assert stage.seconds["computing"] == pytest.approx(alone.seconds["computing"] / 2)


def test_a_model_that_does_not_fit_is_said_not_to():
    stage = embed_stage(WORK, shape_of(70e9), GPUS["l4"], 4, 32768)
    assert "needs 8 x l4, there are 4" in stage.problems[0]


def test_small_batches_are_bound_by_memory_bandwidth():
    slow = embed_stage(WORK, shape_of(8e9), H100, 1, 128)
    assert "memory bandwidth" in slow.seconds
    assert "computing" in embed_stage(WORK, shape_of(8e9), H100, 1, 32768).seconds


def test_the_largest_sizes_say_what_stands_in_the_way():
    work = Workload(questions=25 * 10**6, responses=10**8, groups=10**7)
    embed = embed_stage(work, shape_of(70e9), H100, 512, 32768, node_memory=64)
    assert embed.tokens == pytest.approx(3e9)
    assert 1 < embed.hours < 10
    assert any("driver holds all questions" in p for p in embed.problems)
    for preset in ("gpo", "paper"):
        train = train_stage(work, 8192, preset=preset)
        assert train.memory > 1000
        assert any("each worker holds" in p for p in train.problems)


def test_the_prior_is_what_limits_training_on_many_questions():
    work = Workload(questions=10_000, responses=40_000, groups=1000, answers=200)
    with_prior, without = train_stage(work, 4096), train_stage(work, 4096, preset="paper")
    assert with_prior.bottleneck in {"fitting the prior", "the prior of episodes"}
    assert with_prior.memory > 5 * without.memory
    assert not without.problems


def test_training_scales_with_workers_and_steps():
    one, four = train_stage(WORK, 576, 1), train_stage(WORK, 576, 4)
    assert four.hours < one.hours
    assert four.processors == 4
    longer = train_stage(WORK, 576, steps=6000)
    assert longer.flops > 5 * one.flops
    assert longer.cost > one.cost


def test_a_replica_holds_the_prior_and_the_language_model():
    small, large = (
        serve_stage(w, shape_of(8e9), H100) for w in (WORK, WORK.model_copy(update={"groups": 10**6}))
    )
    assert small.memory == pytest.approx(8e9 * 2 / 2**30)
    assert large.driver_memory > small.driver_memory + 20
    assert small.cost == pytest.approx(H100.price)


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def test_command_line():
    done = run("--questions", 1000, "--model-params", "8B", "--gpu", "a100", "--count", 4, "--json")
    stages = json.loads(done.output)["stages"]
    assert [s["name"] for s in stages] == ["embed", "train", "serve"]
    assert stages[0]["tokens"] == 1000 * 96 + 4000 * 6
    assert stages[0]["workers"] == 4
    assert stages[0]["cost"] == pytest.approx(stages[0]["hours"] * 4 * GPUS["a100"].price)
    free = json.loads(run("--questions", 1000, "--model-params", "8B", "--price", 0, "--json").output)
    assert free["stages"][0]["cost"] == 0
    table = run("--questions", 25_000_000, "--model-params", "70B", "--gpu", "l4", "--groups", 10**7)
    assert table.exit_code == 0
    assert "embed is not possible: a copy of the model needs 8 x l4, there are 1" in table.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--questions", 1, "--model-params", "8B"), "plan: questions: "),
        (
            ("--questions", 9, "--model-params", "8B", "--responses", 9),
            "at least two for each of 9 questions",
        ),
        (
            ("--questions", 9, "--model-params", "8 billion"),
            "--model-params '8 billion': expected 10M to 200B",
        ),
        (("--questions", 9, "--model-params", "8"), "expected 10M to 200B"),
        (
            ("--questions", 9, "--model-params", "8B", "--gpu", "h900"),
            "--gpu 'h900' is not one of h200, h100",
        ),
        (("--questions", 9, "--model-params", "8B", "--store-dtype", "int8"), "--store-dtype 'int8'"),
        (("--questions", 9, "--model-params", "8B", "--config", "none"), "none: neither a file nor a preset"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    done = run(*arguments)
    assert isinstance(done.exception, ConfigError)
    assert message in str(done.exception)
