"""Load the frozen language model, and identify it by its weights."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gpo_ray.errors import EmbeddingError
from gpo_ray.lm.cache import cached, converted
from gpo_ray.lm.find import ModelSource, add_file, weights_digest

DTYPES = ("float32", "bfloat16", "float16")
_SPARE = 1 << 30  # bytes of the disk that must stay free after a conversion


def fingerprint(source: ModelSource, dtype: str) -> str:
    """Return a text that identifies a model's embeddings by the model's weights and the dtype it computes in.

    Local files are identified by name, size and content (of files over 1 GiB, 1 MiB out of every 32 MiB), and
    Hub models by their commit.

    Raises:
        EmbeddingError: if the model cannot be found.
    """
    if not source.is_local:
        config = _from_pretrained("AutoConfig", source)
        commit = getattr(config, "_commit_hash", None)
        return f"{source.name}@{commit or 'unknown'}/{dtype}"
    label = Path(source.name).name.removesuffix(".gguf")
    return f"{label}@{weights_digest(source)[:16]}/{dtype}"


def load(source: ModelSource, dtype: str, device: str, gpus: float = 0) -> tuple[Any, Any]:
    """Load tokenizer and causal language model, frozen, in evaluation mode.

    A GGUF model is first converted, once for this machine (:mod:`gpo_ray.lm.cache`), with the
    same numbers. On a CPU, weights in the dtype of their file are mapped into memory, which all processes
    that load the model share.

    Args:
        source: the place of the model's files, from :func:`find_model`.
        dtype: data type in which the model computes, one of ``DTYPES``.
        device: ``cpu``, ``cuda`` or ``cuda:0``; ignored if ``gpus`` > 1.
        gpus: number of GPUs; with more than one, the layers are spread over the visible GPUs
            (``device_map``).

    Raises:
        EmbeddingError: if files are missing or damaged, or the dtype is unknown.
    """
    import torch

    if dtype not in DTYPES:
        raise EmbeddingError(f"dtype {dtype!r} is not one of {list(DTYPES)}")
    where: dict[str, Any] = {"device_map": "auto"} if gpus > 1 else {}
    tokenizer, model = load_files(_converted(source), getattr(torch, dtype), where)
    if not where:
        model = model.to(device)
    return tokenizer, model.eval().requires_grad_(False)


def load_tokenizer(source: ModelSource) -> tuple[Any, Any]:
    """Load a model's tokenizer and its configuration, without the weights.

    They are the converted model's if it is in the cache.

    Raises:
        EmbeddingError: if files are missing or damaged.
    """
    if source.gguf_file is not None and source.is_local:
        folder = cached(_digest(source))
        if folder is None:
            with _parsed_once(source):
                return _from_pretrained("AutoTokenizer", source), _from_pretrained("AutoConfig", source)
        source = ModelSource(source.name, str(folder))
    return _from_pretrained("AutoTokenizer", source), _from_pretrained("AutoConfig", source)


def make_ready(source: ModelSource) -> str:
    """Convert a model for quick loading, if it is a GGUF model that has not been converted yet.

    Returns:
        The folder from which the model is loaded from now on, or its Hub id.

    Raises:
        EmbeddingError: if files are missing or damaged.
    """
    return _converted(source).path


def _converted(source: ModelSource) -> ModelSource:
    """Convert a GGUF model to a form that loads quickly.

    A model of another kind, or one for which there is no room, is returned as it is.
    """
    if source.gguf_file is None or not source.is_local:
        return source
    import torch

    def convert(folder: Path) -> None:
        with _parsed_once(source):
            tokenizer, model = load_files(source, torch.float32, {})
        needed = sum(p.nbytes for p in model.parameters())
        if needed > shutil.disk_usage(folder).free - _SPARE:
            raise OSError(f"no room for {needed / 2**30:.1f} GiB")
        model.hf_quantizer = None  # otherwise transformers would not save the dequantised weights
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        with _quiet():
            tokenizer.save_pretrained(folder)
            model.save_pretrained(folder)
        for file in folder.iterdir():  # users who may enter the folder may read its files
            file.chmod(0o644)

    folder = converted(source.gguf_file, _digest(source), convert)
    return source if folder is None else ModelSource(source.name, str(folder))


def _digest(source: ModelSource) -> str:
    """Return the SHA-256, in hex, of a model's GGUF file."""
    digest = hashlib.sha256()
    add_file(digest, Path(source.path, source.gguf_file or ""))
    return digest.hexdigest()


@contextlib.contextmanager
def _parsed_once(source: ModelSource) -> Iterator[None]:
    """Make transformers parse a GGUF file only once, rather than for tokenizer, configuration and weights.

    Also make it list the names of all tensors only once, rather than for every module. Together these take
    most of the time of loading.
    """
    try:
        import gguf
    except ModuleNotFoundError as e:
        raise _lacks(source, e) from e

    before = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, function in before.items():
        setattr(gguf, name, functools.cache(function))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(gguf, name, function)


def load_files(source: ModelSource, dtype: Any, where: Mapping[str, Any]) -> tuple[Any, Any]:
    """Load the tokenizer and the model, and check that all weights were in the files."""
    tokenizer = _from_pretrained("AutoTokenizer", source)
    model, info = _from_pretrained(
        "AutoModelForCausalLM", source, dtype=dtype, output_loading_info=True, **where
    )
    if info["missing_keys"] or info["mismatched_keys"]:  # transformers would fill these with random numbers
        bad = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise EmbeddingError(
            f"model {source.name}: {len(bad)} weights are missing or misshapen, such as {bad[0]}"
        )
    return tokenizer, model


def _from_pretrained(auto_class: str, source: ModelSource, **kwargs: Any) -> Any:
    try:
        import transformers
    except ModuleNotFoundError as e:
        raise _lacks(source, e) from e

    with _quiet():
        try:
            return getattr(transformers, auto_class).from_pretrained(**source.kwargs(), **kwargs)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as e:
            reason = " ".join(str(e).split())[:300]
            raise EmbeddingError(
                f"model {source.name}: cannot be loaded ({reason}); give smollm2, a local folder, "
                "a .gguf file, or a Hub id that this machine can reach"
            ) from e


def _lacks(source: ModelSource, error: ModuleNotFoundError) -> EmbeddingError:
    return EmbeddingError(
        f"model {source.name}: reading texts needs {error.name}; install: pip install 'gpo-ray[embed]'"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress progress bars and warnings of retries; the caller shows progress, and errors are raised."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    hub = getLogger("huggingface_hub")
    hub_level = hub.level
    hub.setLevel(ERROR)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    sink = io.StringIO()
    try:
        with contextlib.redirect_stderr(sink):  # no setting turns off the GGUF reader's progress bar
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub.setLevel(hub_level)
        if enabled:
            logging.enable_progress_bar()
