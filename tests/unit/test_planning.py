"""What jobs will take: counts that follow from the code, monotone sizes, and what cannot be done."""

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from synthetic import arrays as joined
from synthetic import encoded, questions, survey
from tiny_model import save_tiny_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from typer.main import get_command
from typer.testing import CliRunner

from gpo_ray.cli import app
from gpo_ray.config import load_train_config
from gpo_ray.embedding.encoder import POOLINGS, Encoder
from gpo_ray.embedding.job import plan_units
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import ConfigError
from gpo_ray.lm.find import find_model
from gpo_ray.lm.prefix_tree import common_prefix
from gpo_ray.model.episodes import build_episode, draw_tasks
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.planning.hardware import CORE, GPUS
from gpo_ray.planning.language_model import KNOWN, Shape, shape_of
from gpo_ray.planning.stages import _unit_share, embed_stage, serve_stage, train_stage
from gpo_ray.planning.training import Training
from gpo_ray.planning.workload import Workload

H100 = GPUS["h100"]
WORK = Workload(questions=1000, responses=4000)


def flops(call):
    """Operations of matrix products in ``call``, as torch counts them."""
    # in plain matrix products, since fused attention is not counted on CPUs
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("readings", [True, False])
def test_operations_of_the_encoder_are_those_that_torch_counts(tmp_path, readings):
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    save_tiny_model(tmp_path, **sizes, num_hidden_layers=3)
    encoder = Encoder(find_model(str(tmp_path)), device="cpu", batch_tokens=256, readings=readings)
    slates = [(q.prompt, q.responses) for q in questions(60) if len(q.responses) == 3]
    found = []
    counted = flops(lambda: found.extend(encoder.encode(slates)))
    prompts = [len(t.prompt) for t in encoder.texts(slates)]
    answers = [len(r) for t in encoder.texts(slates) for r in t.responses]
    again = encoder.opinion_texts(slates)
    endings = [
        sum(len(t) for _, texts in again for t in texts[first : first + 3]) / len(answers) for first in (0, 3)
    ]
    body = 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    shape = Shape(parameters=body + 257 * 64, body=body, width=64, layers=3, key_width=32)
    work = Workload(
        questions=len(slates),
        responses=len(answers),
        prompt_tokens=sum(prompts) / len(prompts),
        shared_tokens=common_prefix(encoder.texts(slates)),
        response_tokens=sum(answers) / len(answers),
        stem_tokens=sum(len(stem) for stem, _ in again) / len(again) - common_prefix(again),
        ending_tokens=endings,
    )
    stage = embed_stage(work, shape, CORE, 1, 10**6, readings=readings)
    # neighbours in a row share more than all do
    assert stage.tokens == pytest.approx(sum(e.tokens for e in found), rel=0.15)
    assert counted == pytest.approx(stage.flops, rel=0.2)


def test_tokens_of_the_readings_are_about_those_of_a_real_survey():
    # OpinionQA with SmolLM2's tokenizer: 26.9, and 14.9 of which the two readings share 6.4
    work = Workload(questions=684, responses=2205, prompt_tokens=94.7, response_tokens=6.4)
    _, again = work.texts(readings=True)
    assert again.beginning == pytest.approx(26.9, rel=0.05)
    assert again.ending == pytest.approx(14.9 - 6.4 / 2, rel=0.05)
    assert again.endings == 2 * 2205
    long = work.model_copy(update={"prompt_tokens": 400.0}).texts(readings=True)[1]
    assert long.beginning == pytest.approx(again.beginning + 400 - 94.7)  # the longer question is in both
    many = Workload(questions=10, responses=1000).texts(readings=True)[1]
    assert many.beginning > 0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("readings", [True, False])
def test_what_is_written_is_what_a_store_takes(tmp_path, readings, dtype):
    asked = questions(30)
    results = encoded(asked, width=256, readings=readings)
    name, _ = EmbeddingStore(tmp_path).write_shard(asked, results, "tiny@0/float32", dtype)
    table = parquet.read_table(tmp_path / name)
    work = Workload(questions=30, responses=sum(len(q.responses) for q in asked))
    shape = Shape(parameters=1e6, body=1e6, width=256, layers=2, key_width=64)
    size = 4 if dtype == "float32" else 2
    stage = embed_stage(work, shape, CORE, 1, 4096, size, readings=readings)
    vectors = sum(table[p].nbytes for p in POOLINGS if p in table.column_names)
    assert stage.stored * 2**30 == pytest.approx(vectors, rel=0.05)


@pytest.mark.parametrize(("copies", "batch_tokens"), [(1, 256), (4, 4096), (40, 64)])
def test_units_of_work_are_as_large_as_the_job_cuts_them(copies, batch_tokens):
    asked = questions(3000)
    tokens = sum(40 + (len(q.prompt) + sum(2 * len(r) + 8 for r in q.responses)) // 4 for q in asked)
    sizes = [sum(len(q.responses) for q in unit) for unit in plan_units(asked, copies, batch_tokens)]
    share = np.median(sizes) / sum(sizes)
    assert share == pytest.approx(_unit_share(tokens, copies, batch_tokens), rel=0.15)


def test_more_is_held_and_written_with_the_readings():
    with_them, without = (embed_stage(WORK, shape_of(8e9), H100, 1, 8192, readings=r) for r in (True, False))
    assert 1.8 < with_them.tokens / without.tokens < 3
    assert 1.5 < with_them.flops / without.flops < 3
    assert with_them.stored / without.stored == pytest.approx(5 / 3)
    assert with_them.host_memory / without.host_memory == pytest.approx(5 / 3)
    assert with_them.memory == without.memory  # batches are as large
    few = {"questions": 10, "responses": 5000}  # all of a question's responses are in a batch, twice as many
    work = Workload(**few, stem_tokens=40, ending_tokens=(15, 20))
    with_them, without = (embed_stage(work, shape_of(8e9), H100, 1, 8192, readings=r) for r in (True, False))
    assert without.memory > 17
    batch = (with_them.memory - 8e9 * 2 / 2**30) / (without.memory - 8e9 * 2 / 2**30)
    assert batch == pytest.approx((40 + 1000 * 14.5) / 8192)


def test_plan_reads_as_embed_does_by_default():
    commands = get_command(app).commands
    plan, embed = (
        next(p for p in commands[name].params if p.name == "readings") for name in ("plan", "embed")
    )
    assert plan.default == embed.default
    assert (plan.opts, plan.secondary_opts) == (embed.opts, embed.secondary_opts)


@pytest.mark.parametrize(("preset", "poolings"), [("paper", 1), ("gpo", 4)])
def test_width_and_need_follow_from_the_presets_pooling(preset, poolings):
    assert Training.of(WORK, 576, load_train_config(preset)).width == poolings * 576
    problems = train_stage(WORK, 576, preset=preset, readings=False).problems
    assert bool(problems) == (preset == "gpo")
    assert not train_stage(WORK, 576, preset=preset).problems
    model, replica = shape_of(8e9), serve_stage(WORK, shape_of(8e9), H100, preset)
    kept = 4.0 * WORK.responses * poolings * model.width
    assert replica.driver_memory >= 2 + kept / 2**30


@pytest.mark.parametrize("preset", ["paper", "gpo"])
def test_operations_of_a_step_are_those_that_torch_counts(preset):
    dataset = survey(groups=12, count=120)
    arrays = joined(dataset, width=48)
    config = load_train_config(preset)
    work = Workload(questions=120, responses=len(arrays.x), groups=12)
    shape = Training.of(work, 48, config)
    training = list(range(round(shape.training)))
    if preset == "gpo":  # several poolings, end to end
        arrays = joined(dataset, width=shape.width)
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
    assert embed_stage(work, shape_of(70e9), H100, 512, 32768, readings=False).tokens == pytest.approx(
        2.075e9
    )
    assert embed.tokens == pytest.approx(2.075e9 + 25e6 * 24 + 2e8 * 11.5)
    assert 1 < embed.hours < 10
    assert any("driver holds all questions" in p for p in embed.problems)
    for preset in ("gpo", "paper"):
        train = train_stage(work, 8192, preset=preset)
        assert train.memory > 1000
        assert any("each worker holds" in p for p in train.problems)


def test_the_prior_grows_linearly_beyond_the_responses_that_new_questions_are_estimated_from():
    def stage(count, preset="gpo"):
        work = Workload(questions=count // 4, responses=count, groups=1000, answers=200)
        return train_stage(work, 4096, preset=preset)

    fits = [stage(n * 40_000).seconds["fitting the prior"] for n in (1, 2, 4)]
    assert fits[2] - fits[1] == pytest.approx(2 * (fits[1] - fits[0]))
    assert fits[0] < fits[1]
    below = [stage(n).seconds["fitting the prior"] for n in (2000, 8000)]
    assert below[1] > 4.5 * below[0]  # cubic there
    assert stage(40_000).memory > 4 * stage(40_000, "paper").memory
    assert not stage(40_000, "paper").problems


def test_training_scales_with_workers_and_steps():
    one, four = train_stage(WORK, 576, 1), train_stage(WORK, 576, 4)
    assert four.hours < one.hours
    assert four.processors == 4
    longer = train_stage(WORK, 576, steps=6000)
    assert longer.flops > 5 * one.flops
    assert longer.cost > one.cost


def test_a_replica_holds_the_prior_and_the_language_model():
    small, large, most = (
        serve_stage(WORK.model_copy(update={"groups": n}), shape_of(8e9), H100)
        for n in (WORK.groups, 20_000, 10**6)
    )
    assert small.memory == pytest.approx(8e9 * 2 / 2**30)
    # shares in the bundle, and residuals derived from them by both readings, in single precision
    more = 3 * 4 * (10_000 - WORK.groups) * WORK.responses
    assert large.driver_memory - small.driver_memory == pytest.approx(more / 2**30, rel=0.01)
    assert most.driver_memory == large.driver_memory  # the prior remembers no more
    assert small.cost == pytest.approx(H100.price)


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def test_command_line():
    done = run("--questions", 1000, "--model-params", "8B", "--gpu", "a100", "--count", 4, "--json")
    stages = json.loads(done.output)["stages"]
    assert [s["name"] for s in stages] == ["embed", "train", "serve"]
    first = 1000 * (96 - 37) + 4000 * 6
    assert stages[0]["tokens"] == first + 1000 * 24 + 2 * 4000 * 11.5
    assert stages[0]["workers"] == 4
    assert stages[0]["cost"] == pytest.approx(stages[0]["hours"] * 4 * GPUS["a100"].price)
    once = run("--questions", 1000, "--model-params", "8B", "--no-readings", "--json")
    embed, train, _ = json.loads(once.output)["stages"]
    assert embed["tokens"] == first
    assert "--config gpo needs the readings" in train["problems"][0]
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


@pytest.mark.parametrize("preset", ["gpo", "paper"])
def test_memory_of_training_does_not_grow_with_people_whose_answers_stay_on_disk(preset):
    few, many = (
        train_stage(Workload(questions=1000, responses=4000, groups=n, answers=100), 576, preset=preset)
        for n in (10**5, 10**6)
    )
    assert many.memory - few.memory == pytest.approx(900_000 * 200 / 2**30, rel=0.01)
    assert many.memory < 4
    assert not many.problems
