"""What stages need, judged against what clusters have, and compared with trying every placement."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.errors import ConfigError, ResourceError
from gpo_ray.runtime.resources import (
    Capacity,
    Node,
    PlacementBundle,
    ResourceRequest,
    embed_request,
    evaluate_request,
    serve_request,
    train_request,
    tune_request,
)


@dataclass(frozen=True)
class Trials:
    concurrent: int
    cpus: float = 1
    gpus: float = 0
    workers: int = 1


def cluster(*nodes):
    """Nodes of (CPUs, GPUs)."""
    return Capacity(tuple(Node(f"n{i}", *n) for i, n in enumerate(nodes)))


SERVE = {"ingress": (1, 1.0, 0.0), "predictor": (2, 1.0, 0.0), "encoder": (1, 2.0, 1.0)}


@pytest.mark.parametrize(
    ("need", "nodes"),
    [
        (embed_request(None, 1, 0), [(1, 0)]),
        (embed_request(8, 1, 0.25), [(8, 2)]),
        (train_request(0, 10), [(1, 0)]),
        (train_request(4, 1), [(2, 2), (2, 2)]),
        (tune_request(Trials(2, 2)), [(0, 0), (3, 0), (2, 0)]),
        (tune_request(Trials(8, 1, 1, workers=2)), [(1, 1), (1, 1)]),
        (evaluate_request(), [(1, 0)]),
        (serve_request(SERVE), [(4, 0), (2, 1)]),
        (serve_request({"predictor": (2, 2, 0), "encoder": (1, 3, 0)}), [(4, 0), (3, 0)]),
    ],
    ids=lambda v: v.stage if isinstance(v, ResourceRequest) else None,
)
def test_what_fits(need, nodes):
    cluster(*nodes).check(need)


@pytest.mark.parametrize(
    ("need", "nodes", "words"),
    [
        (
            embed_request(10, 1, 1),
            [(16, 0)],
            ["10 actors with 1 GPU each: 10 GPU in all", "has 0", "--actors"],
        ),
        (
            embed_request(10, 1, 1),
            [(4, 2)],
            ["10 CPU in all, the cluster has 4", "10 GPU in all, the cluster"],
        ),
        (
            embed_request(3, 1, 0.6),
            [(8, 2)],
            ["3 actors with 1 CPU, 0.6 GPU each: only 2 fit", "1 with 8 CPU"],
        ),
        (
            embed_request(2, 1, 2),
            [(8, 3), (8, 1)],
            ["only 1 fit", "1 with 8 CPU, 3 GPU, 1 with 8 CPU, 1 GPU"],
        ),
        (
            train_request(4),
            [(3, 0)],
            ["train: 4 workers with 1 CPU each: 4 CPU in all", "has 3", "--workers"],
        ),
        (train_request(2, 1), [(0, 4), (8, 0)], ["1 worker with 1 CPU, 1 GPU must fit on a single node"]),
        (tune_request(Trials(2, 4)), [(6, 0), (6, 0), (0, 1)], []),
        (tune_request(Trials(2, 3)), [(3, 0), (2, 0), (2, 0)], ["only 1 fit", "2 with 2 CPU", "concurrent"]),
        (
            tune_request(Trials(1, 2, workers=3)),
            [(5, 0)],
            ["3 trial workers with 2 CPU each", "6 CPU in all", "lower workers, cpus"],
        ),
        (evaluate_request(), [(0, 8)], ["1 task with 1 CPU: 1 CPU in all, the cluster has 0; join a larger"]),
        (evaluate_request(2), [(1, 0), (1, 0)], ["1 task with 2 CPU must fit on a single node"]),
        (serve_request(SERVE), [(3, 0), (1, 1), (1, 0)], ["1 encoder replica with 2 CPU, 1 GPU must fit"]),
        (serve_request(SERVE), [(2, 1)], ["1 ingress replica with 1 CPU", "5 CPU in all", "encoder.min"]),
        (train_request(1), [], ["the cluster has 0"]),
    ],
)
def test_what_does_not_fit_is_refused_with_numbers(need, nodes, words):
    if not words:
        assert cluster(*nodes).problem(need) is None
        return
    with pytest.raises(ResourceError) as error:
        cluster(*nodes).check(need)
    assert error.value.exit_code == 3
    for word in [f"{need.stage}: ", *words]:
        assert word in str(error.value)


def test_lost_nodes_do_not_count():
    both = Capacity((Node("a", 4), Node("b", 4, alive=False)))
    assert both.problem(train_request(4)) is None
    assert "has 4" in both.problem(train_request(5))


def test_room_counts_places_and_not_totals():
    assert cluster((8, 3), (8, 3)).room(PlacementBundle("actor", 1, 1, 2), 9) == 2
    assert cluster((3, 0), (3, 0)).room(PlacementBundle("actor", 1, 2), 9) == 2
    assert cluster((8, 0)).room(PlacementBundle("actor", 1, 1), 3) == 3


def test_more_than_one_gpu_comes_whole():
    with pytest.raises(ConfigError, match=r"actor: 1\.5 GPUs"):
        embed_request(1, 1, 1.5)


def device_choices(gpus, bundle):
    """Every way in which a process may take GPUs of a node, as what is left of each."""
    devices, each = (int(bundle.gpus), 1) if bundle.gpus > 1 else (int(bundle.gpus > 0), bundle.gpus)
    for chosen in itertools.combinations(range(len(gpus)), devices):
        left = tuple(round(g - each * (i in chosen), 6) for i, g in enumerate(gpus))
        if min(left, default=0) >= 0:
            yield left


def can_be_placed(processes, nodes):
    """Whether some assignment of processes to nodes (CPUs, free share of each GPU) works; tries them all."""
    if not processes:
        return True
    first, rest = processes[0], processes[1:]
    for i, (cpus, gpus) in enumerate(nodes):
        if cpus >= first.cpus:
            for left in device_choices(gpus, first):
                after = [*nodes[:i], (cpus - first.cpus, left), *nodes[i + 1 :]]
                if can_be_placed(rest, after):
                    return True
    return False


NODES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=3)
BUNDLES = st.builds(
    PlacementBundle,
    st.just("worker"),
    st.integers(1, 3),
    st.sampled_from([0.5, 1, 2, 3]),
    st.sampled_from([0, 0, 0.25, 0.5, 0.6, 1, 2]),
)


def tried(bundles, nodes):
    processes = [b for b in bundles for _ in range(b.count)]
    return can_be_placed(processes, [(cpus, (1.0,) * gpus) for cpus, gpus in nodes])


@given(st.lists(BUNDLES, min_size=1, max_size=2), NODES)
def test_what_is_accepted_can_be_placed(bundles, nodes):
    if cluster(*nodes).problem(ResourceRequest("train", tuple(bundles), "it")) is None:
        assert tried(bundles, nodes)


@given(BUNDLES, NODES)
def test_processes_that_are_alike_are_refused_only_if_no_placement_works(bundle, nodes):
    accepted = cluster(*nodes).problem(ResourceRequest("train", (bundle,), "it")) is None
    assert accepted == tried([bundle], nodes)
