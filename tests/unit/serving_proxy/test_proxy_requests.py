"""Which headers and paths Serve's proxies let in."""

import pytest
from http_sockets import request


@pytest.mark.parametrize(
    "header",
    [
        b"x-request-timeout-seconds: \xff",
        b"x-request-timeout-seconds: 1e-7",
        b"x-request-disconnect-disabled: \xff",
        b"x-session-id: \xff",
        b"X-Session_Id: a",
        b"serve-multiplexed-model-id: \xff",
        b"serve_multiplexed_model_id: a",
        b"x-request-id: \xff",
        b"x-request-id: \x1b[31mred",
        b"x-request-id: " + b"a" * 129,
    ],
)
def test_serves_own_headers_do_not_reach_it(connect, app, header):
    s = connect(request("/", header, b"x-other: 1"))
    s.recv(1000)
    assert [name for name, _ in app.headers] == [b"host", b"x-other"]


def test_a_request_may_have_an_id(connect, app):
    s = connect(request("/", b"x-request-id: a.b-c_1", b"x-request-id: other"))
    s.recv(1000)
    assert app.headers == [(b"host", b"here"), (b"x-request-id", b"a.b-c_1")]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/-/routes", b"404"),
        ("/-/x", b"404"),
        ("http://CHOSEN/", b"404"),
        ("*", b"404"),
        ("/-/healthz", b"200"),
    ],
)
def test_of_serves_own_paths_its_health_is_shown(connect, path, status):
    reply = connect(request(path)).recv(1000)
    assert reply.split()[1] == status
    assert b"CHOSEN" not in reply
