"""The Kubernetes objects of a profile, as dictionaries with the field names of KubeRay's ``ray.io/v1``.

Pods are made in pods.py; render.py writes the files.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from gpo_ray.cluster.pods import SERVE_PORT, cluster_spec, labels, worker_group
from gpo_ray.cluster.profile import ClusterProfile

Object = dict[str, Any]


def namespace(profile: ClusterProfile) -> Object:
    """Make the namespace that holds all objects."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": profile.namespace}}


def service_account(profile: ClusterProfile) -> Object:
    """Make the service account that pods run as; a cloud's identity for the bucket is bound to it."""
    return _object(profile, "v1", "ServiceAccount", "gpo", "all")


def volume_claim(profile: ClusterProfile) -> Object:
    """Make the claim of the volume that pods share."""
    volume = profile.storage.volume
    spec: Object = {
        "accessModes": [volume.access],
        "resources": {"requests": {"storage": f"{volume.size}Gi"}},
    }
    if volume.storage_class is not None:
        spec["storageClassName"] = volume.storage_class
    return _object(profile, "v1", "PersistentVolumeClaim", "gpo-data", "all") | {"spec": spec}


def env_secrets(profile: ClusterProfile) -> list[str]:
    """List the Secrets that kustomize makes of files ``secrets/NAME.env``.

    The repository does not contain these files.
    """
    serve = profile.serve
    named = [profile.storage.secret, profile.embed.model_secret, serve.database_secret, serve.redis_secret]
    return list(dict.fromkeys(s for s in named if s is not None))


def kustomization(profile: ClusterProfile, resources: list[str], secrets: list[str]) -> Object:
    """Make the kustomization for ``kubectl apply -k``, with all objects that jobs and the service need."""
    made: Object = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": profile.namespace,
        "resources": resources,
    }
    if secrets:
        made["generatorOptions"] = {"disableNameSuffixHash": True}
        made["secretGenerator"] = [{"name": s, "envs": [f"secrets/{s}.env"]} for s in secrets]
    return made


def ray_cluster(profile: ClusterProfile) -> Object:
    """Make the standing cluster, to which jobs are submitted."""
    made = [worker_group(profile, "cluster", g, g.min, g.max) for g in profile.cluster.groups]
    return _object(profile, "ray.io/v1", "RayCluster", "gpo-cluster", "cluster") | {
        "spec": cluster_spec(profile, "cluster", made, autoscale=True)
    }


def embed_job(profile: ClusterProfile) -> Object:
    """Make the job that imports the survey, if the profile names one, and embeds it."""
    e = profile.embed
    group = profile.embed_group
    workers = [worker_group(profile, "embed", group, profile.embed_pods, profile.embed_pods)]
    command = [
        *("gpo", "embed", "--survey", profile.at("survey"), "--out", profile.at("embeddings")),
        *("--model", e.model, "--actors", str(e.actors), "--gpus-per-actor", str(e.gpus_per_actor)),
        *("--cpus-per-actor", str(e.cpus_per_actor), "--dtype", e.dtype),
        *("--batch-tokens", str(e.batch_tokens), "--readings" if e.readings else "--no-readings", "--json"),
    ]
    first = ["gpo", "survey", "import", e.survey, "--out", profile.at("survey"), "--json"] if e.survey else []
    return _job(profile, "embed", command, workers, first)


def train_job(profile: ClusterProfile) -> Object:
    """Make the job that meta-trains a bundle."""
    t = profile.train
    command = [
        *("gpo", "train", *_data(profile), "--out", profile.at("bundle"), "--storage", profile.at("runs")),
        *("--config", t.config, "--fraction", f"{t.fraction:g}", "--workers", str(t.workers)),
        *("--zero-stage", str(t.zero_stage), "--json"),
    ]
    return _job(profile, "train", command, _cpu_workers(profile, "train", t.workers))


def tune_job(profile: ClusterProfile) -> Object:
    """Make the job that searches hyperparameters."""
    t = profile.train
    command = [
        *("gpo", "tune", *_data(profile), "--out", profile.at("tuning")),
        *("--config", t.search, "--concurrent", str(t.concurrent), "--json"),
    ]
    return _job(profile, "tune", command, _cpu_workers(profile, "tune", t.concurrent))


def evaluate_job(profile: ClusterProfile) -> Object:
    """Make the job that scores methods on held-out groups."""
    t = profile.train
    command = ["gpo", "evaluate", *_data(profile), "--out", profile.at("evaluation"), "--seeds", str(t.seeds)]
    return _job(profile, "evaluate", [*command, "--json"], _cpu_workers(profile, "evaluate", t.concurrent))


def ray_service(profile: ClusterProfile) -> Object:
    """Make the service.

    When its cluster's configuration changes, KubeRay starts a second cluster, and moves the service to it as
    soon as the second cluster is healthy.
    """
    groups = [g for g in profile.cluster.groups if profile.serve.encoder.gpus or not g.gpus]
    made = [worker_group(profile, "serve", g, max(1, g.min), g.max, probes=True) for g in groups]
    cluster = cluster_spec(profile, "serve", made, autoscale=True)
    serve = profile.serve
    if serve.redis is not None:
        cluster["gcsFaultToleranceOptions"] = {"redisAddress": serve.redis}
        if serve.redis_secret is not None:
            reference = {"secretKeyRef": {"name": serve.redis_secret, "key": "password"}}
            cluster["gcsFaultToleranceOptions"]["redisPassword"] = {"valueFrom": reference}
    spec = {
        "upgradeStrategy": {"type": "NewCluster"},
        "rayClusterDeletionDelaySeconds": 60,
        "excludeHeadPodFromServeSvc": True,
        "serveConfigV2": yaml.safe_dump(serve_config(profile), sort_keys=False, width=100),
        "rayClusterConfig": cluster,
    }
    return _object(profile, "ray.io/v1", "RayService", "gpo", "serve") | {"spec": spec}


def serve_config(profile: ClusterProfile) -> Object:
    """Make the configuration that Ray Serve deploys; cluster/serve/config.yaml explains it."""
    serve = profile.serve
    replicas = {n: getattr(serve, n).model_dump(mode="json") for n in ("ingress", "predictor", "encoder")}
    bundle = profile.at("bundle")
    application = {
        "name": "gpo",
        "route_prefix": "/",
        "import_path": "gpo_ray.serving:build_app",
        "args": {
            "bundle": bundle,
            "embeddings": profile.at("embeddings"),
            "require_keys": True,
            "page": False,
            **replicas,
        },
        "deployments": [{"name": "Predictor", "user_config": {"bundle": bundle}}],
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": SERVE_PORT, "request_timeout_s": 60},  # noqa: S104
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "applications": [application],
    }


def disruption_budget(profile: ClusterProfile) -> Object:
    """Make the disruption budget, which keeps drained nodes from ending all serving pods at once."""
    spec = {
        "minAvailable": profile.serve.available,
        "selector": {"matchLabels": labels("serve") | {"ray.io/node-type": "worker"}},
    }
    return _object(profile, "policy/v1", "PodDisruptionBudget", "gpo-serve", "serve") | {"spec": spec}


def _data(profile: ClusterProfile) -> list[str]:
    return ["--survey", profile.at("survey"), "--embeddings", profile.at("embeddings")]


def _cpu_workers(profile: ClusterProfile, component: str, workers: int) -> list[Object]:
    pods = profile.worker_pods(workers)
    return [worker_group(profile, component, profile.cluster.cpu, pods, pods)]


def _entrypoint(first: Sequence[str], command: Sequence[str]) -> str:
    """Join two commands to one entrypoint, or return the second if there is no first.

    Two commands need a shell of their own, since the submitter's shell would run the second one itself.
    """
    if not first:
        return shlex.join(command)
    return shlex.join(["bash", "-c", f"{shlex.join(first)} && {shlex.join(command)}"])


def _job(
    profile: ClusterProfile, stage: str, command: list[str], groups: list[Object], first: Sequence[str] = ()
) -> Object:
    # There is no autoscaling, since a stage compares at its start what it needs with what the cluster has.
    jobs = profile.jobs
    spec = {
        "entrypoint": _entrypoint(first, command),
        "submissionMode": "K8sJobMode",
        "submitterConfig": {"backoffLimit": jobs.retries},
        "backoffLimit": jobs.retries,
        "activeDeadlineSeconds": round(jobs.deadline_hours * 3600),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": jobs.keep_minutes * 60,
        "rayClusterSpec": cluster_spec(profile, stage, groups, autoscale=False),
    }
    return _object(profile, "ray.io/v1", "RayJob", f"gpo-{stage}", stage) | {"spec": spec}


def _object(profile: ClusterProfile, version: str, kind: str, name: str, component: str) -> Object:
    metadata = {"name": name, "namespace": profile.namespace, "labels": labels(component)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
