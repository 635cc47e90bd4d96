"""Whatever a folder that claims to be a bundle holds: it is refused in words, at once, and that is all."""

import asyncio
import json
import os

import pytest
import safetensors.torch
import torch
from serving_backend import write_service_bundle

from gpo_ray.errors import BundleError
from gpo_ray.model.bundle import CONFIG, MEMORY, MEMORY_QUESTIONS, PROVENANCE, WEIGHTS, read_bundle
from gpo_ray.runtime.storage import MANIFEST, Folder
from gpo_ray.serving.deployments import Predictor
from gpo_ray.serving.inference.predictor import BatchPredictor
from gpo_ray.serving.settings import ServeSettings


@pytest.fixture(scope="module")
def good(tmp_path_factory, tiny_language_model):
    """A bundle with a memory; do not change it, copy it."""
    return write_service_bundle(tmp_path_factory.mktemp("bundles") / "good", tiny_language_model)


@pytest.fixture
def bad(good, tmp_path):
    """A copy to spoil."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for path in good.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def rewrite(folder, name, data):
    """Replace a file and its manifest entry, as a stranger would whose manifests are right."""
    place = Folder(folder)
    manifest = json.loads(place.read(MANIFEST))
    manifest["files"][name] = place.write(name, data)
    place.write(MANIFEST, json.dumps(manifest).encode())


def changed(name, *keys, value):
    """Another value in a JSON file; the manifest's own if it is that."""

    def change(folder):
        values = json.loads((folder / name).read_bytes())
        inner = values
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        data = json.dumps(values).encode()
        (folder / MANIFEST).write_bytes(data) if name == MANIFEST else rewrite(folder, name, data)

    return change


def deep(name, levels):
    def change(folder):
        data = b'{"a":' * levels + b"1" + b"}" * levels
        (folder / MANIFEST).write_bytes(data) if name == MANIFEST else rewrite(folder, name, data)

    return change


def tensors(name, change_one):
    def change(folder):
        values = safetensors.torch.load((folder / name).read_bytes())
        rewrite(folder, name, safetensors.torch.save(change_one(values)))

    return change


def instead(name, make):
    """Something else in the place of a file, whose manifest entry stays."""

    def change(folder):
        (folder / name).unlink()
        make(folder / name)

    return change


def sparse(name, size):
    """A file of zeros that takes no room on the disk, and would take all memory."""

    def change(folder):
        with (folder / name).open("r+b") as f:
            f.truncate(size)
        changed(MANIFEST, "files", name, value={"bytes": size, "sha256": "0" * 64})(folder)

    return change


def first(values):
    return next(iter(values))


def many_files(folder):
    entry = {"bytes": 0, "sha256": ""}
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"] |= {f"more-{i}": entry for i in range(1000)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def endless(path):
    path.symlink_to("/dev/zero")


def first_size(value):
    def change(folder):
        values = json.loads((folder / MEMORY_QUESTIONS).read_bytes())
        values["sizes"][first(values["sizes"])] = value
        rewrite(folder, MEMORY_QUESTIONS, json.dumps(values).encode())

    return change


BAD = {
    "deep config": deep(CONFIG, 100_000),
    "config of 500 levels": deep(CONFIG, 500),
    "deep provenance": deep(PROVENANCE, 100_000),
    "provenance of 500 levels": deep(PROVENANCE, 500),
    "deep questions": deep(MEMORY_QUESTIONS, 100_000),
    "deep manifest": deep(MANIFEST, 100_000),
    "manifest that is a list": lambda f: (f / MANIFEST).write_text("[]"),
    "provenance that is a number": lambda f: rewrite(f, PROVENANCE, b"1"),
    "provenance that no JSON holds": lambda f: rewrite(f, PROVENANCE, b'{"loss": 1e999}'),
    "size that is a text": changed(MANIFEST, "files", CONFIG, "bytes", value="5"),
    "size that is true": changed(MANIFEST, "files", CONFIG, "bytes", value=True),
    "size below nothing": changed(MANIFEST, "files", CONFIG, "bytes", value=-1),
    "size beyond all memory": changed(MANIFEST, "files", WEIGHTS, "bytes", value=10**30),
    "integer of 5000 digits": lambda f: rewrite(f, CONFIG, b'{"embedding_width": 1' + b"0" * 5000 + b"}"),
    "a thousand files": many_files,
    "a billion layers": changed(CONFIG, "model", "layers", value=10**9),
    "infinitely many layers": changed(CONFIG, "model", "layers", value=1e300),
    "layers that the weights have not": changed(CONFIG, "model", "layers", value=256),
    "embeddings of any width": changed(CONFIG, "embedding_width", value=10**12),
    "layers wider than any memory": changed(
        CONFIG, "model", value={"width": 16_384, "heads": 1, "feedforward": 65_536, "layers": 256}
    ),
    "tensor of another shape": tensors(WEIGHTS, lambda t: t | {first(t): torch.zeros(3, 3)}),
    "tensor of whole numbers": tensors(WEIGHTS, lambda t: t | {first(t): t[first(t)].long()}),
    "tensor too few": tensors(WEIGHTS, lambda t: {k: v for k, v in t.items() if k != first(t)}),
    "tensor too many": tensors(WEIGHTS, lambda t: t | {"more": torch.zeros(1)}),
    "weights that are not numbers": tensors(WEIGHTS, lambda t: {k: v * torch.nan for k, v in t.items()}),
    "question of any size": first_size(10**30),
    "question of many sizes": first_size([1]),
    "shares that are none": tensors(MEMORY, lambda t: t | {"shares": t["shares"] + 7}),
    "shares of whole numbers": tensors(MEMORY, lambda t: t | {"shares": t["shares"].long()}),
    "embeddings in half precision": tensors(MEMORY, lambda t: t | {"x": t["x"].bfloat16()}),
    "embeddings that are not numbers": tensors(MEMORY, lambda t: t | {"x": t["x"] * torch.inf}),
    "scales that are none": changed(MEMORY_QUESTIONS, "scales", "noise", value=10**400),
    "pipe for a manifest": instead(MANIFEST, os.mkfifo),
    "pipe for a config": instead(CONFIG, os.mkfifo),
    "pipe for weights": instead(WEIGHTS, os.mkfifo),
    "folder for weights": instead(WEIGHTS, lambda p: p.mkdir()),
    "device for a manifest": instead(MANIFEST, endless),
    "device for a config": instead(CONFIG, endless),
    "link in a circle": instead(CONFIG, lambda p: p.symlink_to(p.name)),
    "weights of a terabyte": sparse(WEIGHTS, 10**12),
    "config of a terabyte": sparse(CONFIG, 10**12),
    "memory of a terabyte": sparse(MEMORY, 10**12),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_is_refused_in_one_line_and_the_old_one_serves_on(good, bad, spoil):
    spoil(bad)
    predictor = BatchPredictor(good)
    before = predictor.bundle_id
    with pytest.raises(BundleError) as caught:
        predictor.swap(bad)
    assert "bundle" in str(caught.value) or "/bad" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert predictor.bundle_id == before


@pytest.mark.parametrize("name", [WEIGHTS, MEMORY])
def test_what_does_not_fit_the_memory_that_is_left_is_not_begun(good, monkeypatch, name):
    monkeypatch.setattr("gpo_ray.model.bundle.memory_left", lambda: (good / name).stat().st_size)
    with pytest.raises(BundleError, match="of which twice is needed"):
        read_bundle(good)


@pytest.mark.parametrize("name", [PROVENANCE, MEMORY_QUESTIONS, MANIFEST])
def test_values_are_counted_before_they_are_made(bad, name):
    """To make ten million lists holds up the whole process for half a minute: the old bundle with it."""
    data = (bad / name).read_bytes()
    data = data.rstrip()[:-1] + b', "more": [' + b"[]," * 3_000_000 + b"[]]}"
    (bad / MANIFEST).write_bytes(data) if name == MANIFEST else rewrite(bad, name, data)
    with pytest.raises(BundleError, match=r"more than [13],000,000 values"):
        read_bundle(bad)


class Panic(BaseException):
    """As extensions in Rust raise."""


@pytest.fixture(scope="module")
def predictor(good):
    settings = ServeSettings(bundle=str(good), database="sqlite://", require_keys=False)
    return Predictor(settings, encoder=None)


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), KeyError("x\n\x1b]0;y"), Panic("rust")]
)
def test_a_replica_outlives_whatever_a_swap_raises(good, predictor, monkeypatch, error):
    def swap(self, _):
        raise error

    monkeypatch.setattr(BatchPredictor, "swap", swap)
    asyncio.run(predictor.reconfigure({"bundle": "another"}))
    ready = asyncio.run(predictor.ready())
    assert ready.ready
    assert ready.bundle == read_bundle(good).id
    assert type(error).__name__ in ready.problem
    assert ready.problem.isprintable()
    monkeypatch.undo()
    asyncio.run(predictor.reconfigure({"bundle": str(good)}))
    assert asyncio.run(predictor.ready()).problem is None


@pytest.mark.parametrize(
    "config", [None, [], {}, {"bundle": 1}, {"bundle": ""}, {"bundle": "a\0b"}, {"x": 1}]
)
def test_a_replica_outlives_any_user_config(predictor, config):
    asyncio.run(predictor.reconfigure(config))
    ready = asyncio.run(predictor.ready())
    assert ready.ready
    assert ready.problem
