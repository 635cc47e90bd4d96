"""Adapters on disk: a folder each, with the manifest last, named by the hash of what they were made of.

A folder has ``adapter_model.safetensors`` and ``adapter_config.json``, as peft reads them, ``record.json``
with what the training took and brought, and ``manifest.json``. If no step was better than the base model,
there are no weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from logging import getLogger
from typing import TYPE_CHECKING, Any

from pydantic import Field
from safetensors import SafetensorError

from gpo_ray import __version__
from gpo_ray.config import StrictConfig, parse
from gpo_ray.errors import BundleError, ConfigError, GPOError
from gpo_ray.finetuning.config import library_versions
from gpo_ray.lm.cache import cache_bytes, cache_folder
from gpo_ray.runtime.storage import MANIFEST, Folder

if TYPE_CHECKING:
    from torch import Tensor

KIND = "adapter"
WEIGHTS, CONFIG, RECORD = "adapter_model.safetensors", "adapter_config.json", "record.json"
MAX_BYTES = 2**20
"""Most bytes of the files besides the weights."""

logger = getLogger(__name__)


class AdapterRecord(StrictConfig):
    """What a training took and what it brought."""

    seconds: float = Field(ge=0)
    """Seconds of the training, with its validations."""
    steps: int = Field(ge=0)
    """Number of optimiser steps; 0 if there were too few answers to train on."""
    best_step: int = Field(ge=0)
    """Number of steps after which the loss on the held-back answers was lowest; 0 is the base model, which is
    then kept."""
    parameters: int = Field(ge=0)
    """Number of trained parameters."""
    base_loss: float | None = None
    """The base model's loss on the held-back answers; None if nothing was trained."""
    best_loss: float | None = None
    """The lowest loss on them."""
    sharpness: float = Field(default=1.0, ge=0)
    """Factor on rewards before their softmax, the inverse of a temperature; 0 predicts uniform shares."""

    @property
    def kept_base(self) -> bool:
        """Whether the base model is kept, since no step was better on the held-back answers."""
        return self.best_step == 0


@dataclass(frozen=True)
class Adapter:
    """An adapter and the record of its training."""

    record: AdapterRecord
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """The weights by name; empty if the base model is kept."""
    peft_config: Mapping[str, Any] = field(default_factory=dict)
    """The shape, as peft writes it."""

    @property
    def nbytes(self) -> int:
        """Number of bytes of the weights, which is what is kept of a group."""
        return sum(w.nbytes for w in self.weights.values())


def adapter_key(**made_of: Any) -> str:
    """Return the hash of what an adapter is made of, as values of JSON, and of the libraries' versions."""
    parts = made_of | {"version": __version__, "libraries": library_versions()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def adapters_folder() -> Folder:
    """Return the folder of kept adapters, in GPO_CACHE or in ``gpo_ray`` in the user's cache folder."""
    return Folder(cache_folder().parent / "adapters", BundleError)


def kept_or_made(key: str, make: Callable[[], Adapter]) -> Adapter:
    """Return the adapter that was kept under a key; make and keep it if there is none.

    A damaged one is made again. With GPO_CACHE_GIB=0, and where nothing can be written, nothing is kept.
    """
    if cache_bytes() == 0:
        return make()
    folder = adapters_folder().child(key)
    try:
        if folder.exists(MANIFEST):
            return read_adapter(folder)
    except BundleError as e:
        logger.warning("%s; it is trained again", e)
        folder.remove_all()
    adapter = make()
    try:
        write_adapter(folder, adapter)
    except ConfigError as e:
        logger.warning("adapters cannot be kept (%s)", e)
    return adapter


def adapter_bytes() -> int:
    """Return the number of bytes of all kept adapters."""
    root = adapters_folder().local_path
    return sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) if root and root.is_dir() else 0


def clear_adapters() -> None:
    """Delete all kept adapters.

    Raises:
        BundleError: if a folder cannot be deleted.
    """
    adapters_folder().remove_all()


def write_adapter(folder: Folder, adapter: Adapter) -> None:
    """Write an adapter, with the manifest as the last file.

    Raises:
        ConfigError: if the folder cannot be written.
    """
    from safetensors.torch import save

    contents = {RECORD: adapter.record.model_dump_json(indent=1).encode()}
    if adapter.weights:
        contents[WEIGHTS] = save({name: w.contiguous() for name, w in adapter.weights.items()})
        contents[CONFIG] = json.dumps(adapter.peft_config, indent=1, default=str).encode()
    folder.publish(KIND, contents)


def read_adapter(folder: Folder) -> Adapter:
    """Read an adapter and check it against its manifest.

    Raises:
        BundleError: if a file is missing, was changed or cannot be understood.
    """
    from safetensors.torch import load

    manifest = folder.read_manifest(KIND)
    try:
        record = parse(AdapterRecord, folder.read_json(RECORD, manifest, MAX_BYTES), folder.where(RECORD))
        if WEIGHTS not in manifest["files"]:
            return Adapter(record)
        weights = load(folder.read_checked(WEIGHTS, manifest))
        return Adapter(record, weights, dict(folder.read_json(CONFIG, manifest, MAX_BYTES)))
    except (SafetensorError, ValueError, TypeError, ConfigError) as e:
        raise BundleError(f"{folder}: a file cannot be understood: {e}") from e


def require_libraries(method: str) -> dict[str, str]:
    """Return the versions of the libraries that train.

    Raises:
        ConfigError: if one is not installed, naming the method.
    """
    try:
        return library_versions()
    except GPOError as e:
        raise ConfigError(f"method {method}: {e}") from e
