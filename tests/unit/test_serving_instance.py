"""A Serve instance that others use too: what of it is refused, and what is said of it."""

import socket
import threading
from types import SimpleNamespace

import pytest
from ray.serve.config import HTTPOptions
from serving_backend import make_service

from gpo_ray.errors import ConfigError
from gpo_ray.serving import instance
from gpo_ray.serving.page.mount import is_page_path


@pytest.fixture
def serve(monkeypatch):
    """A running Serve with applications, given by their prefixes."""
    details = {"applications": {}, "proxies": {}}
    options = HTTPOptions(host="127.0.0.1", port=8000)
    found = SimpleNamespace(http_config=options, get_serve_details=lambda: details)
    monkeypatch.setattr(instance, "running", lambda: found)
    return details


@pytest.mark.parametrize(
    "prefix",
    [
        *instance.OWN_PATHS,
        "/v1/groups",
        "/v1/predict",
        "/v1/a/b",
        "/v1/",
        "/_nicegui/auto",
        "/_nicegui_ws/socket.io",
    ],
)
def test_an_application_inside_the_services_own_paths_is_refused(serve, prefix):
    serve["applications"] = {"fine": {"route_prefix": "/fine"}, "evil": {"route_prefix": prefix}}
    with pytest.raises(ConfigError, match=rf"application 'evil' of this cluster is served at {prefix},"):
        instance.is_free("127.0.0.1", 8000, "gpo")


@pytest.mark.parametrize("prefix", [None, "/fine", "/v2", "/v11", "/fine/v1", "/healthzz", "/_nicegui_other"])
def test_other_applications_may_be_there(serve, prefix):
    serve["applications"] = {"other": {"route_prefix": prefix}}
    assert not instance.is_free("127.0.0.1", 8000, "gpo")


def test_an_application_at_the_root_is_refused(serve):
    serve["applications"] = {"other": {"route_prefix": "/"}}
    with pytest.raises(ConfigError, match="'other' of this cluster is served at / already"):
        instance.is_free("127.0.0.1", 8000, "gpo")


def test_every_path_of_the_service_is_known(tmp_path):
    paths = [route.path for route in make_service(tmp_path, None).api.routes]
    assert {f"/{path.split('/')[1]}" for path in paths} <= set(instance.OWN_PATHS)
    for path in ("/favicon.ico", "/_nicegui", "/_nicegui_ws"):
        assert path in instance.OWN_PATHS
        assert is_page_path(path) or is_page_path(path + "/")


def proxy(answer):
    """Answer one request with some bytes; gives the port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listening:
            connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "unbounded"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", True),
        (b"nonsense\r\n\r\n", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_proxies_that_are_not_bounded_are_found(serve, host, answer, unbounded):
    serve["proxies"] = {"node": {"node_ip": "127.0.0.1"}}
    assert instance.is_unbounded(host, proxy(answer)) is unbounded


def test_a_proxy_that_cannot_be_reached_is_no_reason_to_warn(serve):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert not instance.is_unbounded("127.0.0.1", port)
