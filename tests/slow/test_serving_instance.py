"""``gpo serve`` on a cluster of others: their Serve and their applications stay as they are."""

import os
import signal
import subprocess
import sys
import textwrap

import httpx
import pytest
from serving_backend import write_service_bundle
from serving_cluster import Head, wait_for

pytestmark = pytest.mark.slow

THEIRS = """
    import sys
    import ray
    from ray import serve

    @serve.deployment
    class Theirs:
        async def __call__(self, request):
            return "theirs"

    ray.init(address=sys.argv[1], log_to_driver=False)
    serve.start(http_options={"host": sys.argv[2], "port": int(sys.argv[3])})
    theirs = Theirs.options(ray_actor_options={"num_cpus": 0.1}).bind()
    serve.run(theirs, name=sys.argv[4], route_prefix="/theirs")
"""
END = """
    import sys
    import ray
    from ray import serve

    ray.init(address=sys.argv[1], log_to_driver=False)
    serve.shutdown()
"""
BUILD = """
    import sys
    import ray
    from gpo_ray.serving import build_app

    ray.init(address=sys.argv[1], log_to_driver=False)
    build_app({"bundle": sys.argv[2], "database": sys.argv[3], "require_keys": False, "page": False})
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_language_model):
    return write_service_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_language_model)


@pytest.fixture(scope="module")
def head():
    with Head() as head:
        head.address = f"127.0.0.1:{head.ports['port']}"
        yield head


def python(head, script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), head.address, *map(str, arguments)]
    return subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=120)


def serve(head, folder, bundle, port):
    """``gpo serve`` on the cluster."""
    config = folder / "serve.yaml"
    small = "{cpus: 0.3}"
    config.write_text(
        f"bundle: {bundle}\ndatabase: sqlite:///{folder}/groups.sqlite\npage: false\n"
        f"ingress: {small}\npredictor: {small}\nencoder: {small}\n"
    )
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gpo_ray",
            "serve",
            "--config",
            config,
            "--port",
            str(port),
            "--address",
            head.address,
        ],
        env=head.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def refused(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2, out
    assert len(out.splitlines()) == 1
    return out


def test_others_are_left_as_they_were(head, bundle, tmp_path):
    port = head.http_port
    made = python(head, THEIRS, "127.0.0.1", port, "theirs")
    assert made.returncode == 0, made.stderr
    assert httpx.get(f"{head.url}/theirs").text == "theirs"

    out = refused(serve(head, tmp_path, bundle, port + 1))
    assert f"port {port}, not {port + 1}" in out

    mine = serve(head, tmp_path, bundle, port)
    try:
        wait_for(lambda: httpx.get(f"{head.url}/readyz").status_code == 200, 120, "service")
        assert httpx.get(f"{head.url}/theirs").text == "theirs"
        assert "an application named 'gpo' runs on this cluster" in refused(
            serve(head, tmp_path, bundle, port)
        )
        assert httpx.get(f"{head.url}/readyz").status_code == 200
        mine.send_signal(signal.SIGINT)
        out, _ = mine.communicate(timeout=30)
    finally:
        mine.kill()
        mine.wait()
    assert mine.returncode == 0, out
    assert [line.split()[0] for line in out.splitlines()] == ["serving", "no", "stopping"]
    assert httpx.get(f"{head.url}/theirs").text == "theirs"
    assert httpx.get(f"{head.url}/v1/groups").status_code == 404


def test_nobody_is_served_without_keys_where_serve_listens_to_all(head, bundle, tmp_path):
    assert python(head, END).returncode == 0
    port = head.http_port
    made = python(head, THEIRS, "0.0.0.0", port, "theirs")
    assert made.returncode == 0, made.stderr
    assert "host '0.0.0.0', not '127.0.0.1'" in refused(serve(head, tmp_path, bundle, port))
    built = python(head, BUILD, bundle, f"sqlite:///{tmp_path}/groups.sqlite")
    assert built.returncode == 1
    assert "http_options.host is 0.0.0.0: without API keys only this machine may ask" in built.stderr
