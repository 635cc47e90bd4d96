"""The bundle: what meta-training leaves behind and everything that predicts starts from.

A folder with ``model.safetensors``, ``config.json`` (what rebuilds the model), ``provenance.json``
(data, embeddings, groups and questions trained on, versions), for a model with a prior
``memory.safetensors`` and ``memory.json`` (the meta-train groups' shares, the questions they are of
with their embeddings, and the prior's scales), and ``manifest.json``, written last, with the SHA-256
of the others. No pickle is ever loaded, and no size in a file is believed before what it would take is
compared with the sizes of the files, and with the memory that is left.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import safetensors
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from gpo_ray.config import ModelConfig, parse
from gpo_ray.errors import BundleError, ConfigError
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.preferences.slates import Floats
from gpo_ray.prior.calibration import MAX_GROUPS
from gpo_ray.prior.group_prior import GroupPrior, KeyedGroupPrior, precision
from gpo_ray.prior.response_model import COUNT, NominalResponseModel
from gpo_ray.prior.scales import PriorScales
from gpo_ray.runtime.memory_left import memory_left
from gpo_ray.runtime.storage import MANIFEST, Folder

KIND = "bundle"
WEIGHTS, CONFIG, PROVENANCE = "model.safetensors", "config.json", "provenance.json"
MEMORY, MEMORY_QUESTIONS = "memory.safetensors", "memory.json"
MAX_FILES = 16
MAX_BYTES = {CONFIG: 1_000_000, PROVENANCE: 128_000_000, MEMORY_QUESTIONS: 64_000_000}
HEADER = 1_000_000
"""Bytes of a file of tensors that are no tensors, at most."""

Size = Annotated[int, Field(ge=1, le=1_000_000)]


class BundleConfig(BaseModel):
    """What rebuilds a model and tells which embeddings it understands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_width: Size
    """E."""
    embedding_fingerprint: str
    """Language model whose embeddings it was trained on."""
    embedding_template: str
    """Prompt template of those embeddings."""
    embedding_model: str
    """What to pass to ``--model`` to embed new questions."""
    embedding_dtype: str
    """What the language model computed in."""
    model: ModelConfig
    """The transformer."""


class _CrossSurvey(BaseModel):
    """Of the prior for a context of another survey."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: Size
    scales: PriorScales


_SCALES_1 = {
    "semantic": "outputscale",
    "new_noise": "unseen_noise",
    "new_semantic": "unseen_outputscale",
    "threshold": "soft_threshold",
    "evidence": "pseudo_count",
    "stretch": "group_scale",
}
"""Names of hyperparameters in bundles of format 1, and what they are called now."""


class _PriorQuestions(BaseModel):
    """Contents of ``memory.json``: number of responses by question key, in the order of the shares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: dict[str, Size] = Field(min_length=1)
    scales: PriorScales
    cross_survey: _CrossSurvey | None = None


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle."""

    model: GPOTransformer
    config: BundleConfig
    provenance: dict[str, Any]
    prior: KeyedGroupPrior | None = None
    """What the meta-train groups answered, for a model that takes a prior."""
    id: str = ""
    """Short hash of its contents; empty for one that was not read from a folder."""


def write_bundle(
    uri: str | os.PathLike[str],
    weights: dict[str, Tensor],
    config: BundleConfig,
    provenance: dict[str, Any],
    prior: KeyedGroupPrior | None = None,
) -> None:
    """Write a bundle, manifest last."""
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
    """Load a bundle, checked against its manifest, ready to predict on the CPU.

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
    """Refuse what is no bundle of ours before anything of it is read."""
    files = manifest["files"]
    if len(files) > MAX_FILES:
        raise BundleError(
            f"{folder.where(MANIFEST)}: lists {len(files)} files, a bundle has at most {MAX_FILES}"
        )
    total, left = sum(entry["bytes"] for entry in files.values()), memory_left()
    if left is not None and 2 * total > left:  # as bytes, and as what is made of them
        raise BundleError(
            f"{folder}: {total / 2**30:,.1f} GiB, of which twice is needed, "
            f"and {left / 2**30:,.1f} GiB of memory are left"
        )


def _read_model(folder: Folder, manifest: dict[str, Any], config: BundleConfig) -> GPOTransformer:
    """The transformer with its weights, whose sizes are compared before there is room for any."""
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
    hashes = sorted((name, entry["sha256"]) for name, entry in manifest["files"].items())
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:12]


def _prior_files(known: KeyedGroupPrior) -> dict[str, bytes]:
    prior = known.prior
    tensors = {"shares": torch.from_numpy(prior.shares).float(), "x": torch.from_numpy(prior.x)}
    if prior.expected is not None:
        tensors["expected"] = torch.from_numpy(prior.expected).float()
    if prior.traits is not None:
        tensors["trait_loading"] = torch.from_numpy(prior.traits.loading).float()
        tensors["trait_base"] = torch.from_numpy(prior.traits.base).float()
    if prior.cross_survey is not None and prior.cross_survey.expected is not None:
        tensors["expected_cross_survey"] = torch.from_numpy(prior.cross_survey.expected).float()
    order = sorted(known.number, key=lambda key: known.number[key])
    values = {
        "sizes": {key: int(prior.sizes[known.number[key]]) for key in order},
        "scales": asdict(prior.scales),
    }
    if prior.cross_survey is not None:
        scales, columns = asdict(prior.cross_survey.scales), prior.cross_survey.x.shape[1]
        values["cross_survey"] = {"columns": columns, "scales": scales}
    return {
        MEMORY: save_tensors({k: v.contiguous() for k, v in tensors.items()}),
        MEMORY_QUESTIONS: json.dumps(values).encode(),
    }


def _read_prior(folder: Folder, manifest: dict[str, Any], width: int) -> KeyedGroupPrior:
    raw = folder.read_json(MEMORY_QUESTIONS, manifest, MAX_BYTES[MEMORY_QUESTIONS])
    if manifest["format"] == 1:
        raw = _renamed(raw)
    values = parse(_PriorQuestions, raw, folder.where(MEMORY_QUESTIONS))
    sizes = np.asarray(list(values.sizes.values()), np.int64)
    most = 8 * int(sizes.sum()) * (width + MAX_GROUPS + COUNT + 3) + HEADER
    tensors = load_tensors(folder.read_checked(MEMORY, manifest, most))
    if manifest["format"] == 1:
        tensors = {f"{k[:9]}cross_survey" if k[:9] == "expected_" else k: t for k, t in tensors.items()}
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    groups, rows = max([1, *shapes.get("shares", ())[:1]]), int(sizes.sum())
    wanted: dict[str, tuple[int, ...]] = {"shares": (groups, rows), "x": (rows, width)}
    if values.scales.traits:
        wanted |= {"trait_loading": (rows, COUNT), "trait_base": (rows,)}
    for name in ("expected", *(["expected_cross_survey"] if values.cross_survey else [])):
        if name in shapes:
            wanted[name] = (rows,)
    if shapes != wanted or (values.cross_survey and values.cross_survey.columns > width):
        raise BundleError(f"{folder.where(MEMORY)}: shapes {shapes} do not fit {MEMORY_QUESTIONS}")
    _check_numbers(folder, tensors)
    shares: Floats = np.asfortranarray(tensors["shares"].numpy(), precision(groups))
    if np.isnan(shares).all(0).any():
        raise BundleError(f"{folder.where(MEMORY)}: holds a question that nobody answered")
    number = {key: i for i, key in enumerate(values.sizes)}
    expected, expected_cross_survey = (
        tensors[name].double().numpy() if name in tensors else None
        for name in ("expected", "expected_cross_survey")
    )
    traits = None
    if values.scales.traits:
        loading, base = (tensors[name].double().numpy() for name in ("trait_loading", "trait_base"))
        traits = NominalResponseModel(loading, base, sizes)
    x, cross_survey = tensors["x"].numpy(), None
    if values.cross_survey is not None:
        columns, scales = x[:, : values.cross_survey.columns], values.cross_survey.scales
        cross_survey = GroupPrior(shares, columns, sizes, expected_cross_survey, scales=scales)
    prior = GroupPrior(
        shares, x, sizes, expected, scales=values.scales, traits=traits, cross_survey=cross_survey
    )
    return KeyedGroupPrior(prior, number)


def _renamed(values: Any) -> Any:
    """The contents of ``memory.json`` of format 1, by the present names.

    Beside ``sizes`` and ``scales`` it has one more key, that of the prior across surveys.
    """
    if not isinstance(values, dict):
        return values
    found = {k if k in ("sizes", "scales") else "cross_survey": v for k, v in values.items()}
    if isinstance(found.get("cross_survey"), dict):
        found["cross_survey"] = _scales_renamed(found["cross_survey"])
    return _scales_renamed(found)


def _scales_renamed(values: dict[str, Any]) -> dict[str, Any]:
    scales = values.get("scales")
    if not isinstance(scales, dict):
        return values
    return values | {"scales": {_SCALES_1.get(k, k): v for k, v in scales.items()}}


def _check_numbers(folder: Folder, tensors: dict[str, Tensor]) -> None:
    """Shares are shares, or NaN where nobody answered; everything else is finite."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise BundleError(f"{folder.where(MEMORY)}: {name} holds {tensor.dtype}, expected torch.float32")
        values = tensor.numpy()
        if name == "shares":
            fit = not ((values < -1e-6) | (values > 1 + 1e-6)).any()
        else:
            fit = bool(np.isfinite(values).all())
        if not fit:
            raise BundleError(f"{folder.where(MEMORY)}: {name} holds numbers that cannot be {name}")


def fold_standardization(weights: dict[str, Tensor], mean: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Weights that do to raw embeddings what ``weights`` do to (x - mean) / scale.

    Args:
        weights: of a :class:`GPOTransformer`.
        mean: (E,).
        scale: (E,).
    """
    weight = weights["embedder.0.weight"].double()
    folded = weight[:, :-1] / scale.double()
    bias = weights["embedder.0.bias"].double() - folded @ mean.double()
    return weights | {
        "embedder.0.weight": torch.cat([folded, weight[:, -1:]], 1).float(),
        "embedder.0.bias": bias.float(),
    }
