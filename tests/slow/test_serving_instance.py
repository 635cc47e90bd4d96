"""``gpo serve`` on a cluster of others: their Serve and their applications stay as they are."""

import os
import signal
import subprocess
import sys
import textwrap

import httpx
import pytest
from serving_backend import write_service_bundle
from serving_cluster import free_ports, wait_for

pytestmark = pytest.mark.slow
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "PYTHONPATH": os.pathsep.join(sys.path),
}
THEIRS = """
    import logging, sys
    import ray
    from ray import serve

    @serve.deployment
    class Theirs:
        async def __call__(self, request):
            return "theirs"

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    serve.start(http_options={"host": sys.argv[1], "port": int(sys.argv[2])})
    theirs = Theirs.options(ray_actor_options={"num_cpus": 0.1}).bind()
    serve.run(theirs, name="theirs", route_prefix="/theirs")
    print("at", ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()
"""
BUILD = """
    import sys
    import ray
    from gpo_ray.serving import build_app

    ray.init(address=sys.argv[1], log_to_driver=False)
    build_app({"bundle": sys.argv[2], "database": sys.argv[3], "require_keys": False, "page": False})
"""


def python(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


class Cluster:
    """One with others' Serve, which listens on a host, and an application at ``/theirs``."""

    def __init__(self, host):
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = python(THEIRS, host, self.port)
        lines = iter(self.process.stdout.readline, "")
        self.address = next(line.split()[1] for line in lines if line.startswith("at "))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate(timeout=60)

    def serve(self, folder, bundle, port=None):
        """``gpo serve`` on it."""
        small = "{cpus: 0.3}"
        (folder / "serve.yaml").write_text(
            f"bundle: {bundle}\ndatabase: sqlite:///{folder}/groups.sqlite\npage: false\n"
            f"ingress: {small}\npredictor: {small}\nencoder: {small}\n"
        )
        where = ("--port", str(port or self.port), "--address", self.address)
        return subprocess.Popen(
            [sys.executable, "-m", "gpo_ray", "serve", "--config", folder / "serve.yaml", *where],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_language_model):
    return write_service_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_language_model)


def refused(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2, out
    assert len(out.splitlines()) == 1
    return out


def get(cluster, path):
    return httpx.get(cluster.url + path, timeout=30)


def ready(cluster):
    try:
        return get(cluster, "/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.minutes
def test_others_are_left_as_they_were(bundle, tmp_path):
    with Cluster("127.0.0.1") as cluster:
        port = cluster.port
        assert f"port {port}, not {port + 1}" in refused(cluster.serve(tmp_path, bundle, port + 1))
        mine = cluster.serve(tmp_path, bundle)
        try:
            wait_for(lambda: ready(cluster), 180, "service")
            assert get(cluster, "/theirs").text == "theirs"
            again = refused(cluster.serve(tmp_path, bundle))
            assert "an application named 'gpo' runs on this cluster already" in again
            assert ready(cluster)
            mine.send_signal(signal.SIGINT)
            out, _ = mine.communicate(timeout=60)
        finally:
            mine.kill()
            mine.communicate()
        assert mine.returncode == 0, out
        assert [line.split()[0] for line in out.splitlines()] == ["serving", "no", "stopping"]
        assert get(cluster, "/theirs").text == "theirs"
        assert get(cluster, "/v1/groups").status_code == 404


@pytest.mark.minutes
def test_nobody_is_served_without_keys_where_serve_listens_to_all(bundle, tmp_path):
    with Cluster("0.0.0.0") as cluster:
        assert "host '0.0.0.0', not '127.0.0.1'" in refused(cluster.serve(tmp_path, bundle))
        building = python(BUILD, cluster.address, bundle, f"sqlite:///{tmp_path}/groups.sqlite")
        _, said = building.communicate(timeout=120)
        assert building.returncode == 1
        assert "http_options.host is 0.0.0.0: without API keys only this machine may ask" in said
