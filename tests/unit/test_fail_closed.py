"""Nobody but this machine is served without API keys, wherever a setting says otherwise."""

import asyncio

import httpx
import pytest
import yaml
from serving_backend import LocalBackend, make_service
from synthetic_cluster import commands, copy_cluster

from gpo_ray.cluster.check import check_folder
from gpo_ray.errors import ConfigError
from gpo_ray.serving.reach import check_reach, is_loopback
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.keys import KeyRing
from gpo_ray.serving.run import _check_free, keys_needed, reserved, run
from gpo_ray.serving.settings import load_settings

MINE = ("127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "::1", "::ffff:127.0.0.1")
OTHERS = (
    "0.0.0.0",
    "::",
    "",
    "0",
    "*",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "fe80::1%eth0",
    "host.example",
    "localhost.x",
)


@pytest.mark.parametrize("host", MINE)
def test_of_this_machine(host):
    assert is_loopback(host)
    check_reach(False, host, "host")


@pytest.mark.parametrize("host", OTHERS)
def test_of_other_machines(host):
    assert not is_loopback(host)
    check_reach(True, host, "host")
    with pytest.raises(ConfigError, match="without API keys only this machine may ask"):
        check_reach(False, host, "host")


def settings_of(folder, **values):
    """Settings as ``gpo serve --config`` reads them, with the database of a folder."""
    (folder / "serve.yaml").write_text(yaml.safe_dump({"bundle": "b", **values}))
    return load_settings(folder / "serve.yaml", {"database": f"sqlite:///{folder}/groups.sqlite"})


def key_ring(folder):
    return KeyRing(open_database(f"sqlite:///{folder}/groups.sqlite"))


SAID = {"true": {"require_keys": True}, "false": {"require_keys": False}, "nothing": {}}
KEYS = {
    ("none", "true"): "no API key works; make one with: gpo serve key create",
    ("none", "false"): False,
    ("none", "nothing"): False,
    ("revoked", "true"): "no API key works",
    ("revoked", "false"): False,
    ("revoked", "nothing"): "every API key is revoked",
    ("working", "true"): True,
    ("working", "false"): "there are API keys",
    ("working", "nothing"): True,
}


@pytest.mark.parametrize(("keys", "said"), KEYS)
def test_what_is_closed_does_not_open_by_itself(tmp_path, keys, said):
    ring, expected = key_ring(tmp_path), KEYS[keys, said]
    if keys != "none":
        key, _ = ring.create("k", "t", ["read"])
        if keys == "revoked":
            ring.revoke(key.key_id)
    settings = settings_of(tmp_path, **SAID[said])
    if isinstance(expected, bool):
        assert keys_needed(settings) == expected
        return
    with pytest.raises(ConfigError, match=expected):
        keys_needed(settings)
    with pytest.raises(ConfigError, match=expected):  # the command starts nothing then
        run(settings, "127.0.0.1", 1, None, announce=print)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
@pytest.mark.parametrize("said", [{}, {"require_keys": False}])
def test_the_command_serves_no_others_without_keys(tmp_path, host, said):
    with pytest.raises(ConfigError, match=r"--host is .*only this machine"):
        run(settings_of(tmp_path, **said), host, 1, None, announce=print)


def serve_config(text, **changes):
    """A Serve config with another host and other arguments; a host of None is left out."""
    config = yaml.safe_load(text)
    config["applications"][0]["args"] |= {"require_keys": changes["require_keys"]}
    if changes["host"] is None:
        config.pop("http_options")
    else:
        config["http_options"]["host"] = changes["host"]
    return yaml.safe_dump(config)


@pytest.mark.parametrize("file", ["serve/config.yaml", "kuberay/overlays/gpu/rayservice.yaml"])
@pytest.mark.parametrize(
    ("host", "require_keys", "open_to_all"),
    [
        ("0.0.0.0", False, True),
        (None, False, True),  # Serve's default is every interface
        ("::", "false", True),
        ("", "no", True),
        ("0.0.0.0", 0, True),
        ("127.0.0.1", False, False),
        ("0.0.0.0", True, False),
    ],
)
def test_the_check_of_cluster_files_sees_it(tmp_path, file, host, require_keys, open_to_all):
    path = copy_cluster(tmp_path) / file
    if "kuberay" in file:
        service, *others = yaml.safe_load_all(path.read_text())
        text = service["spec"]["serveConfigV2"]
        service["spec"]["serveConfigV2"] = serve_config(text, host=host, require_keys=require_keys)
        path.write_text(yaml.safe_dump_all([service, *others]))
        key = "spec.serveConfigV2.applications.0.args.require_keys"
    else:
        path.write_text(serve_config(path.read_text(), host=host, require_keys=require_keys))
        key = "applications.0.args.require_keys"
    found = [p for p in check_folder(tmp_path / "cluster", commands()).problems if p.key == key]
    assert len(found) == open_to_all
    assert all("only this machine may ask" in p.message for p in found)


@pytest.fixture(scope="module")
def backend(tiny_language_model):
    return LocalBackend(tiny_language_model)


def asked(api, client, headers):
    async def send():
        transport = httpx.ASGITransport(api, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as sender:
            return (await sender.get("/v1/groups", headers=headers)).status_code

    return asyncio.run(send())


PASSED_ON = (
    {"Forwarded": "for=10.0.0.9"},
    {"X-Forwarded-For": "10.0.0.9"},
    {"X-Forwarded-Host": "here"},
    {"X-Real-IP": "127.0.0.1"},
    {"Via": "1.1 proxy"},
    *({f"{name}-Client-IP": "10.0.0.9"} for name in ("X", "X-Cluster", "Fastly", "True")),
    {"X-Envoy-External-Address": "10.0.0.9"},
    {"CF-Ray": "230b030023ae2822-SJC"},
    {"CDN-Loop": "a"},
)


def test_a_stranger_who_names_this_machine_is_refused_all_the_same(tmp_path, backend):
    api = make_service(tmp_path, backend, require_keys=False).api
    assert asked(api, ("127.0.0.1", 1), {}) == asked(api, ("::1", 1), {}) == 200
    assert asked(api, ("10.0.0.9", 1), {}) == 421
    assert [asked(api, ("127.0.0.1", 1), headers) for headers in PASSED_ON] == [421] * len(PASSED_ON)


def test_an_empty_table_of_keys_opens_nothing(tmp_path, backend):
    service = make_service(tmp_path, backend, require_keys=True)
    for key in service.keys.list():
        service.keys.revoke(key.key_id)
    assert asked(service.api, ("127.0.0.1", 1), {}) == 401


def test_an_address_is_reserved_for_one_service():
    with reserved("127.0.0.1", 1), reserved("127.0.0.1", 2), reserved("10.0.0.1", 1):  # noqa: SIM117
        with (
            pytest.raises(ConfigError, match=r"127\.0\.0\.1:1: another gpo serve has it"),
            reserved("127.0.0.1", 1),
        ):
            pass
    with reserved("127.0.0.1", 1):
        pass


def test_names_of_this_machine_are_one_address():
    with (
        reserved("127.0.0.1", 1),
        pytest.raises(ConfigError, match="another gpo serve"),
        reserved("localhost", 1),
    ):
        pass
    with reserved("x" * 300, 1):
        pass


def test_a_host_that_is_no_name_is_said_so():
    with pytest.raises(ConfigError, match="not the name of a host"):
        _check_free("\udcff\udcfe", 1)
