"""Too little is told by exit code 3 with numbers, before Ray is started and before anything is loaded."""

import json

import pytest
import ray
from synthetic import survey

from gpo_ray.errors import ResourceError
from gpo_ray.planning.preflight import OPTIONS, examine
from gpo_ray.runtime import ray_session
from gpo_ray.runtime.resources import Capacity, Node

SEARCH = "gpus: 5\nspace:\n  learning_rate: {loguniform: [1.0e-5, 1.0e-2]}\n"
SERVICE = "bundle: no-bundle\nencoder: {gpus: 10}\n"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """A machine without GPUs and without a cluster to join, on which Ray must not be started."""

    def started(*_, **__):
        pytest.fail("Ray was started")

    monkeypatch.setattr(ray, "init", started)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_OVERRIDE_RESOURCES", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "search.yaml").write_text(SEARCH)
    (tmp_path / "service.yaml").write_text(SERVICE)
    survey(groups=3, count=4).save(tmp_path / "survey")
    return tmp_path


ASKING = {  # of each stage: options, file, what the message says
    "embed": (
        ["--actors", 2, "--gpus-per-actor", 5],
        None,
        ["2 actors with 5 GPU each", "--gpus-per-actor"],
    ),
    "train": (
        ["--workers", 1, "--gpus-per-worker", 10],
        None,
        ["1 worker with 10 GPU", "--gpus-per-worker"],
    ),
    "tune": (["--concurrent", 2], "search.yaml", ["2 trials with 5 GPU each", "concurrent"]),
    "serve": ([], "service.yaml", ["1 encoder replica with 10 GPU", "encoder.min"]),
}


@pytest.mark.parametrize("stage", ASKING)
def test_ten_gpus_are_refused_before_the_data_is_looked_for(fails, files, stage):
    options, file, words = ASKING[stage]
    config = ["--config", files / file] if file else []
    known = "survey" if stage == "embed" else "no-survey"  # embedding names questions that are too long first
    data = ["--survey", files / known, "--out", files / "out"] if stage != "serve" else []
    store = ["--embeddings", files / "no-store"] if stage in {"train", "tune"} else []
    fails(
        stage,
        *options,
        *config,
        *data,
        *store,
        words=[f"{stage}: ", *words, "10 GPU in all, this machine has 0"],
        code=3,
    )
    assert not (files / "out").exists()


@pytest.mark.parametrize("stage", ASKING)
def test_preflight_says_the_same(gpo, files, stage):
    options, file, words = ASKING[stage]
    config = ["--config", files / file] if file else []
    code, out, err = gpo("preflight", "--stage", stage, *options, *config, "--json")
    assert code == 3, err
    result = json.loads(out.strip().splitlines()[-1])
    (judged,) = result["stages"]
    assert (judged["stage"], judged["fits"]) == (stage, False)
    assert words[0] in judged["problem"]
    assert "10 GPU in all, this machine has 0" in err
    assert len(err.strip().splitlines()) == 1


def test_defaults_of_all_stages_fit_on_a_local_cluster(gpo, tmp_path):
    code, out, err = gpo("preflight", "--storage", tmp_path / "runs" / "deep", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out.strip().splitlines()[-1])
    assert [s["stage"] for s in result["stages"]] == list(OPTIONS)
    assert all(s["fits"] for s in result["stages"])
    (node,) = result["nodes"]
    assert node["cpus"] >= ray_session.MIN_LOCAL_CPUS
    assert min(node["memory"], node["object_store"], result["storage"]["free"]) > 0
    assert result["versions"]["ray"] == ray.__version__
    assert (result["versions_match"], result["storage"]["problem"], result["problems"]) == (None, None, [])
    assert not list(tmp_path.iterdir())


def test_tables_for_people(gpo, tmp_path):
    (tmp_path / "file").touch()
    code, out, err = gpo("preflight", "--stage", "train", "--workers", 99, "--storage", tmp_path / "file/x")
    assert code == 3
    for words in ("this machine", "object store", "CUDA no", "99 workers", "cannot be written"):
        assert words in out
    assert "train: 99 workers with 1 CPU each: 99 CPU in all, this machine has" in err
    assert "storage: " in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--stage", "cook"], ["'cook'", "embed, train"]),
        (["--workers", 2], ["--workers", "--stage train"]),
        (["--stage", "embed", "--gpus-per-worker", 2], ["--gpus-per-worker", "--stage train, not embed"]),
        (["--stage", "embed", "--gpus-per-actor", 1.5], ["1.5 GPUs", "whole"]),
        (["--stage", "embed", "--cpus-per-actor", 0], ["cpus_per_actor"]),
        (["--stage", "tune", "--config", "no.yaml"], ["no.yaml"]),
        (["--storage", "nowhere://x"], ["nowhere://x"]),
    ],
)
def test_wrong_options(fails, options, words):
    fails("preflight", *options, words=words)


def test_gpus_are_counted_as_ray_counts_them(gpo, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 2}')
    code, out, _ = gpo("preflight", "--stage", "embed", "--actors", 3, "--json")
    assert code == 3
    result = json.loads(out)
    assert result["nodes"][0]["gpus"] == 2
    assert result["stages"][0]["problem"] == "3 actors with 1 GPU each: 3 GPU in all, this machine has 2"


def test_settings_of_ray_that_contradict_each_other(fails, monkeypatch):
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 2}')
    fails("preflight", words=["CUDA_VISIBLE_DEVICES", "--address"], code=3)


def test_no_cluster_at_the_address(fails):
    fails("preflight", "--address", "127.0.0.1:1", words=["127.0.0.1:1", "--address"], code=3)
    with pytest.raises(ResourceError, match=r"127\.0\.0\.1:1"):
        examine([], address="127.0.0.1:1")


def test_nodes_that_differ_from_this_process_are_named():
    from gpo_ray.planning.preflight import _strange

    mine = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0+cpu"}
    nodes = Capacity(tuple(Node(name, 1, key=name) for name in ("same", "old", "bare", "mute", "lost")))
    found = {
        "same": mine | {"torch": "2.13.0+cu130"},
        "old": mine | {"ray": "2.59.0"},
        "bare": mine | {"ray": None},
        "mute": None,
    }
    problems = _strange(nodes, found, mine)
    assert [p.split()[1] for p in problems] == ["old", "bare", "mute"]
    assert "ray 2.59.0, this process 2.60.0" in problems[0]
    assert "ray not installed" in problems[1]
