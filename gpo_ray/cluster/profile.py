"""The profile: the one configuration from which all cluster files are written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from gpo_ray.config import StrictConfig, load_train_config, parse, presets, read_yaml
from gpo_ray.embedding.encoder import needs_prompt_eol
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.documents import read_yaml_documents
from gpo_ray.serving.settings import Replicas

RAY_VERSION = "2.60.0"
"""Version of Ray in the image, the same as in constraints.txt."""
_NAME = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"


class Image(StrictConfig):
    """The container image, which is built from cluster/docker/Dockerfile."""

    repository: str = Field(pattern=r"^[a-z0-9][a-z0-9._:/-]*[a-z0-9]$")
    """Registry and name of the image, without a tag."""
    version: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    """Tag without its ending; ``-cpu`` or ``-cuda`` is added for the two targets."""
    pull: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull the image; Never is for an image that was loaded into them."""
    pull_secret: str | None = None
    """Name of the registry's Secret, made by ``kubectl create secret docker-registry``."""

    def tag(self, gpu: bool) -> str:
        """Return the image, with its tag, of a pod with or without GPUs."""
        return f"{self.repository}:{self.version}-{'cuda' if gpu else 'cpu'}"


class Pods(StrictConfig):
    """The pods of one kind: their number and resources."""

    min: int = Field(default=0, ge=0)
    """Least number of pods of the standing cluster and of the service."""
    max: int = Field(default=1, ge=1)
    """Greatest number of pods of the standing cluster, of the service, and of any job."""
    cpus: int = Field(ge=1)
    """Number of CPU cores of each pod."""
    memory: int = Field(ge=1)
    """Memory of each pod in GiB."""
    gpus: int = Field(default=0, ge=0)
    """Number of GPUs of each pod."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have to run these pods."""

    @model_validator(mode="after")
    def _range_ascends(self) -> Pods:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) is less than min ({self.min})")
        return self


class Volume(StrictConfig):
    """A volume that pods share."""

    path: str = Field(default="/data", pattern=r"^/[^\s]*[^\s/]$")
    """Path at which the volume is mounted."""
    size: int = Field(default=50, ge=1)
    """Size of the volume in GiB."""
    storage_class: str | None = None
    """Storage class; None is the Kubernetes cluster's default."""
    access: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteMany"
    """Access mode; a ReadWriteOnce volume serves only pods on a single node."""


class Storage(StrictConfig):
    """The storage of surveys, embeddings, runs and bundles, which every pod can reach."""

    bucket: str | None = Field(default=None, pattern=r"^(s3|gs)://[^\s?#]*[^\s/?#]$")
    """Bucket and prefix; without a bucket, all data are on the volume."""
    secret: str | None = None
    """Secret whose entries become environment variables, such as AWS_ACCESS_KEY_ID; None if the service
    account is enough."""
    volume: Volume = Volume()
    """The volume, which is made only if there is no bucket."""

    @property
    def root(self) -> str:
        """The bucket, or the path at which the volume is mounted."""
        return self.bucket or self.volume.path


class Jobs(StrictConfig):
    """The settings that all jobs share."""

    deadline_hours: float = Field(default=24, gt=0)
    """Hours after which a job is ended."""
    retries: int = Field(default=2, ge=0)
    """How often a failed job runs again on a new cluster; it goes on from what is complete."""
    keep_minutes: int = Field(default=10, ge=0)
    """Minutes for which the cluster of a finished job is kept, so that its logs can be read."""


class Embed(StrictConfig):
    """The settings of ``gpo embed``, which its --help explains."""

    survey: Literal["gss"] | None = None
    """Survey to import first; None if one is already in storage, in the folder ``survey``."""
    model: str = "smollm2"
    """Language model: smollm2, a Hub id, or a folder in the image."""
    model_secret: str | None = None
    """Secret whose entry HF_TOKEN gives access to a gated model."""

    actors: int = Field(default=1, ge=1)
    """Number of copies of the language model."""
    gpus_per_actor: int = Field(default=0, ge=0)
    """Number of GPUs of each copy, all in one pod."""
    cpus_per_actor: int = Field(default=1, ge=1)
    """Number of CPU cores of each copy."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format in which the model computes."""
    batch_tokens: int = Field(default=4096, ge=64)
    """Number of padded tokens of one forward pass on a GPU."""
    readings: bool = True
    """Whether the language model also reads the texts of the readings, which preset ``gpo`` needs and
    ``paper`` does not."""


class Train(StrictConfig):
    """The settings of ``gpo train``, ``gpo tune`` and ``gpo evaluate``, which all run on CPU pods.

    The --help of these commands explains the settings.
    """

    config: str = "gpo"
    """Preset, or a file in the image."""
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the groups to learn from."""
    workers: int = Field(default=2, ge=1)
    """Number of Ray Train workers, of one core each."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """DeepSpeed ZeRO stage."""
    search: str = "/opt/gpo_ray/tune_configs/default.yaml"
    """Configuration file, in the image, of the search that ``gpo tune`` runs."""
    concurrent: int = Field(default=4, ge=1)
    """Number of trials, or of splits of an evaluation, at a time, of one core each."""
    seeds: int = Field(default=3, ge=1)
    """Number of splits for each fraction of an evaluation."""


class Serve(StrictConfig):
    """The settings of the service, which docs/serving.md explains."""

    ingress: Replicas = Replicas(min=2, max=4, queue=256)
    predictor: Replicas = Replicas(min=2, max=4)
    encoder: Replicas = Replicas(queue=32)
    database: str | None = None
    """SQLAlchemy URL without a password, such as SQLite's; several pods need ``database_secret``."""
    database_secret: str | None = None
    """Secret whose entry GPO_DATABASE is the database's URL."""
    redis: str | None = None
    """Address of a Redis that keeps the cluster's state, so that the service survives its head pod."""
    redis_secret: str | None = None
    """Secret whose entry ``password`` is the password of this Redis."""
    available: int = Field(default=1, ge=0)
    """Number of serving pods that must stay available in a voluntary disruption."""

    @model_validator(mode="after")
    def _one_database(self) -> Serve:
        if (self.database is None) == (self.database_secret is None):
            raise ValueError("give one of database and database_secret")
        if self.database is not None and "@" in self.database:
            raise ValueError("database: may hold a password, which manifests would show; use database_secret")
        if self.redis_secret is not None and self.redis is None:
            raise ValueError("redis_secret without redis")
        return self


class Machines(StrictConfig):
    """The virtual machines of one cloud, for ``ray up``."""

    region: str
    """Region of the cloud, such as us-west-2 or us-central1."""
    zone: str
    """Zone within the region, such as us-west-2a or us-central1-a."""
    head: str
    """Machine type of the head."""
    cpu: str
    """Machine type of the workers without GPUs."""
    gpu: str
    """Machine type of the workers with GPUs."""
    disk: int = Field(default=200, ge=50)
    """Disk of each machine in GB; the CUDA image alone takes about 20."""
    project: str | None = None
    """Project id, for GCP only."""


class Clouds(StrictConfig):
    """The clouds for which files for ``ray up`` are written."""

    aws: Machines | None = None
    gcp: Machines | None = None


class Cluster(StrictConfig):
    """The pods of a cluster."""

    head: Pods
    """The single head pod, which runs no tasks."""
    cpu: Pods
    """Worker pods for training, tuning, evaluation and serving."""
    gpu: Pods | None = None
    """Worker pods with GPUs for embedding; without them, ``cpu`` pods embed."""
    idle_seconds: int = Field(default=300, ge=10)
    """Seconds after which the autoscaler removes an idle worker."""

    @property
    def groups(self) -> list[Pods]:
        """The groups of worker pods: ``cpu``, and ``gpu`` if there is one."""
        return [g for g in (self.cpu, self.gpu) if g is not None]


class ClusterProfile(StrictConfig):
    """The profile, with all settings of the cluster files."""

    name: str = Field(pattern=f"^{_NAME}$", max_length=40)
    """Name of the profile and of its overlay folder."""
    namespace: str = Field(default="gpo", pattern=f"^{_NAME}$", max_length=63)
    """Namespace of all objects; each namespace needs its own folder of files (--out)."""
    image: Image
    storage: Storage
    cluster: Cluster
    jobs: Jobs = Jobs()
    embed: Embed = Embed()
    train: Train = Train()
    serve: Serve
    clouds: Clouds = Clouds()

    @model_validator(mode="after")
    def _fits(self) -> ClusterProfile:
        for what, problem in (*self._misplaced_gpus(), *self._too_many(), *self._unread()):
            raise ValueError(f"{what}: {problem}")
        return self

    def _misplaced_gpus(self) -> Iterator[tuple[str, str]]:
        gpu = self.cluster.gpu
        if self.cluster.head.gpus or self.cluster.cpu.gpus:
            yield "cluster", "GPUs belong to the group gpu"
        if gpu is not None and not gpu.gpus:
            yield "cluster.gpu.gpus", "a pod of this group needs at least one"
        have = gpu.gpus if gpu else 0
        for what, each in (
            ("embed.gpus_per_actor", self.embed.gpus_per_actor),
            ("serve.encoder.gpus", self.serve.encoder.gpus),
        ):
            if each > have:
                yield what, f"{each:g} GPUs, a pod of cluster.gpu has {have}"

    def _too_many(self) -> Iterator[tuple[str, str]]:
        cpu = self.cluster.cpu
        for what, pods, group in (
            ("embed.actors", self.embed_pods, self.embed_group),
            ("train.workers", self.worker_pods(self.train.workers), cpu),
            ("train.concurrent", self.worker_pods(self.train.concurrent), cpu),
        ):
            if pods > group.max:
                yield what, f"needs {pods} pods, the group's max is {group.max}"
        asked = sum(r.min * r.cpus for r in (self.serve.ingress, self.serve.predictor))
        if asked > cpu.max * cpu.cpus:
            yield "serve", f"needs {asked:g} cores, cluster.cpu has at most {cpu.max * cpu.cpus}"

    def _unread(self) -> Iterator[tuple[str, str]]:
        if self.embed.readings or self.train.config not in presets():
            return  # the configuration is a file in the image, which cannot be read here
        pooling = load_train_config(self.train.config).model.pooling
        if needs_prompt_eol(pooling):
            yield "embed.readings", f"train.config {self.train.config} needs them ({pooling})"

    @property
    def embed_group(self) -> Pods:
        """The pods that hold the language model."""
        gpu = self.cluster.gpu
        return gpu if gpu is not None and self.embed.gpus_per_actor else self.cluster.cpu

    @property
    def embed_pods(self) -> int:
        """Number of pods that embedding needs."""
        e, group = self.embed, self.embed_group
        each = group.cpus // e.cpus_per_actor
        if e.gpus_per_actor:
            each = min(each, group.gpus // e.gpus_per_actor)
        return math.ceil(e.actors / each) if each else e.actors * group.max + 1

    def worker_pods(self, workers: int) -> int:
        """Return the number of CPU pods for workers of one core each; a core per pod is left to Ray."""
        return math.ceil(workers / max(1, self.cluster.cpu.cpus - 1))

    def at(self, *parts: str) -> str:
        """Return the location of a folder or file in storage."""
        return "/".join([self.storage.root, *parts])


def profiles() -> list[str]:
    """List the names of the profiles that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _folder().iterdir() if p.name.endswith(".yaml"))


def load_profile(name: str | os.PathLike[str]) -> ClusterProfile:
    """Load a shipped profile by its name, or a YAML file.

    Raises:
        ConfigError: naming the file and the key that is wrong.
    """
    if str(name) in profiles():
        shipped = read_yaml_documents(_folder() / f"{name}.yaml", f"profile {name}", ConfigError)
        return parse(ClusterProfile, shipped[0], f"profile {name}")
    if not Path(name).is_file():
        raise ConfigError(f"{name}: neither a file nor a profile (profiles: {', '.join(profiles())})")
    return parse(ClusterProfile, read_yaml(name), str(name))


def _folder() -> Any:
    return resources.files("gpo_ray.cluster") / "profiles"
