"""Write and read the bundle, the folder that meta-training writes and everything that predicts reads.

It has these files:

- ``model.safetensors``, the transformer's weights;
- ``config.json``, the values from which the model is rebuilt;
- ``provenance.json``, the data, embeddings, groups and questions used in training, and versions;
- ``memory.safetensors`` and ``memory.json``, only for a model with a prior: the meta-train groups' shares,
  the questions and embeddings that these belong to, and the prior's hyperparameters;
- ``manifest.json``, written last, with the SHA-256 of the other files.

No pickle is ever loaded. Sizes that a file states are compared with the sizes of the files and with the
memory that is left, before memory is allocated for them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from typing import Any

import safetensors
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from gpo_ray.config import ModelConfig, parse
from gpo_ray.errors import BundleError, ConfigError
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.prior import format_1
from gpo_ray.prior.group_prior import Size
from gpo_ray.prior.keyed import KeyedGroupPrior, PriorState
from gpo_ray.runtime.memory_left import memory_left
from gpo_ray.runtime.storage import MANIFEST, Folder

KIND = "bundle"
WEIGHTS, CONFIG, PROVENANCE = "model.safetensors", "config.json", "provenance.json"
MEMORY, MEMORY_QUESTIONS = "memory.safetensors", "memory.json"
MAX_FILES = 16
"""Most files that a bundle's manifest may name."""
MAX_BYTES = {CONFIG: 1_000_000, PROVENANCE: 128_000_000, MEMORY_QUESTIONS: 64_000_000}
"""Most bytes of the files that are read as a whole before they are checked."""
HEADER = 1_000_000
"""Maximum number of bytes in a safetensors file beside the tensors themselves."""


class BundleConfig(BaseModel):
    """The values that rebuild a model and identify the embeddings that it was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_width: Size
    """Width E of the embeddings."""
    embedding_fingerprint: str
    """Fingerprint of the language model whose embeddings the model was trained on."""
    embedding_template: str
    """Prompt template of these embeddings."""
    embedding_model: str
    """Language model to pass to ``--model`` to embed new questions."""
    embedding_dtype: str
    """Data type in which the language model computed."""
    model: ModelConfig
    """Configuration of the transformer."""


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle."""

    model: GPOTransformer
    config: BundleConfig
    provenance: dict[str, Any]
    prior: KeyedGroupPrior | None = None
    """The prior, made from the meta-train groups' answers; None for a model without a prior."""
    id: str = ""
    """Short hash of the contents; empty for a bundle that was not read from a folder."""


def write_bundle(
    uri: str | os.PathLike[str],
    weights: dict[str, Tensor],
    config: BundleConfig,
    provenance: dict[str, Any],
    prior: KeyedGroupPrior | None = None,
) -> None:
    """Write a bundle, with the manifest as the last file."""
    folder = Folder(uri, BundleError)
    contents = {
        WEIGHTS: save_tensors({k: v.contiguous() for k, v in weights.items()}),
        CONFIG: config.model_dump_json(indent=1).encode(),
        PROVENANCE: json.dumps(provenance, indent=1, allow_nan=False).encode(),
    }
    if prior is not None:
        contents |= _prior_files(prior)
    folder.publish(KIND, contents)


def read_bundle(uri: str | os.PathLike[str]) -> Bundle:
    """Load a bundle, check it against its manifest, and make its model ready to predict on the CPU.

    Raises:
        BundleError: if a file is missing, was changed, or does not fit the others.
    """
    folder = Folder(uri, BundleError)
    manifest = folder.read_manifest(KIND, hint="make it with: gpo train")
    _check_sizes(folder, manifest)
    try:
        raw = folder.read_json(CONFIG, manifest, MAX_BYTES[CONFIG])
        config = parse(BundleConfig, raw, folder.where(CONFIG))
        provenance = dict(folder.read_json(PROVENANCE, manifest, MAX_BYTES[PROVENANCE]))
        model = _read_model(folder, manifest, config)
        prior = None
        if config.model.prior != "none":
            prior = _read_prior(folder, manifest, config.embedding_width)
    except MemoryError as e:
        raise BundleError(f"{folder}: is larger than the memory that is left") from e
    except (*_MISUNDERSTOOD, ConfigError, safetensors.SafetensorError) as e:
        raise BundleError(f"{folder}: a file cannot be understood: {e}") from e
    return Bundle(model, config, provenance, prior, _content_id(manifest))


_MISUNDERSTOOD = (ArithmeticError, AttributeError, KeyError, RuntimeError, TypeError, ValueError)


def _check_sizes(folder: Folder, manifest: dict[str, Any]) -> None:
    """Refuse a folder with too many or too large files, before any file but the manifest is read."""
    files = manifest["files"]
    if len(files) > MAX_FILES:
        raise BundleError(
            f"{folder.where(MANIFEST)}: lists {len(files)} files, a bundle has at most {MAX_FILES}"
        )
    total, left = sum(entry["bytes"] for entry in files.values()), memory_left()
    if left is not None and 2 * total > left:  # the bytes and the arrays made from them are both in memory
        raise BundleError(
            f"{folder}: {total / 2**30:,.1f} GiB, of which twice is needed, "
            f"and {left / 2**30:,.1f} GiB of memory are left"
        )


def _read_model(folder: Folder, manifest: dict[str, Any], config: BundleConfig) -> GPOTransformer:
    """Read the transformer with its weights; their total size is limited before they are read."""
    with torch.device("meta"):
        wanted = {
            k: v.shape for k, v in GPOTransformer(config.embedding_width, config.model).state_dict().items()
        }
    most = 8 * sum(math.prod(shape) for shape in wanted.values()) + HEADER
    weights = load_tensors(folder.read_checked(WEIGHTS, manifest, most))
    for name in sorted(wanted.keys() | weights.keys()):
        given = weights[name].shape if name in weights else None
        if given != wanted.get(name) or not weights[name].is_floating_point():
            raise BundleError(
                f"{folder.where(WEIGHTS)}: does not fit {CONFIG}: {name[:100]} is {_shape(given)}, "
                f"expected {_shape(wanted.get(name))}"
            )
    model = GPOTransformer(config.embedding_width, config.model)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else f"numbers of shape {tuple(shape)}"


def _content_id(manifest: dict[str, Any]) -> str:
    """Return a short hash of a bundle's contents."""
    hashes = sorted((name, entry["sha256"]) for name, entry in manifest["files"].items())
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:12]


def _prior_files(prior: KeyedGroupPrior) -> dict[str, bytes]:
    values, arrays = prior.to_state()
    return {
        MEMORY: save_tensors({name: torch.from_numpy(a) for name, a in arrays.items()}),
        MEMORY_QUESTIONS: json.dumps(values).encode(),
    }


def _read_prior(folder: Folder, manifest: dict[str, Any], width: int) -> KeyedGroupPrior:
    """Read the prior, of format 1 or later; the size of its file is limited before it is read."""
    raw = folder.read_json(MEMORY_QUESTIONS, manifest, MAX_BYTES[MEMORY_QUESTIONS])
    if manifest["format"] == 1:
        raw = format_1.renamed_values(raw)
    state = parse(PriorState, raw, folder.where(MEMORY_QUESTIONS))
    most = 8 * state.max_numbers(width) + HEADER
    tensors = load_tensors(folder.read_checked(MEMORY, manifest, most))
    if manifest["format"] == 1:
        tensors = format_1.renamed_arrays(tensors)
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise BundleError(f"{folder.where(MEMORY)}: {name} holds {tensor.dtype}, expected torch.float32")
    try:
        return KeyedGroupPrior.from_state(state, {name: t.numpy() for name, t in tensors.items()}, width)
    except ValueError as e:
        raise BundleError(f"{folder.where(MEMORY)} with {MEMORY_QUESTIONS}: {e}") from e
