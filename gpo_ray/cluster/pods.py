"""Pod templates and worker groups, which RayCluster, RayJob and RayService have in common."""

from __future__ import annotations

from typing import Any

from gpo_ray.cluster.profile import RAY_VERSION, ClusterProfile, Pods
from gpo_ray.serving.bounds import ROTATION

GPU = "nvidia.com/gpu"
USER, GROUP = 1000, 100
"""Ids of the user ``ray`` in the image and of its group."""
SERVE_PORT = 8000
DATA = "data"


def labels(component: str) -> dict[str, str]:
    """Return the labels of all objects that belong to one component of the system."""
    return {"app.kubernetes.io/name": "gpo-ray", "app.kubernetes.io/component": component}


def cluster_spec(
    profile: ClusterProfile, component: str, groups: list[dict[str, Any]], autoscale: bool
) -> dict[str, Any]:
    """Make a RayClusterSpec."""
    spec: dict[str, Any] = {"rayVersion": RAY_VERSION, "authOptions": {"mode": "token"}}
    if autoscale:
        spec |= {
            "enableInTreeAutoscaling": True,
            "autoscalerOptions": {
                "version": "v2",
                "idleTimeoutSeconds": profile.cluster.idle_seconds,
                "imagePullPolicy": profile.image.pull,
                "resources": _same("500m", "1Gi"),
            },
        }
    head = {
        "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104 - reached by pod address
        "template": _template(profile, component, "ray-head", profile.cluster.head, ports=HEAD_PORTS),
    }
    return spec | {"headGroupSpec": head, "workerGroupSpecs": groups}


HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}
WORKER_PORTS = {"metrics": 8080}


def worker_group(
    profile: ClusterProfile, component: str, pods: Pods, least: int, most: int, probes: bool = False
) -> dict[str, Any]:
    """Make a WorkerGroupSpec of the CPU pods or of the pods with GPUs."""
    ports = WORKER_PORTS | ({"serve": SERVE_PORT} if probes else {})
    template = _template(profile, component, "ray-worker", pods, ports)
    if probes:
        template["spec"]["containers"][0] |= _serving_probes()
        template["spec"]["terminationGracePeriodSeconds"] = 120
    return {
        "groupName": "gpu" if pods.gpus else "cpu",
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": template,
    }


def _template(
    profile: ClusterProfile, component: str, name: str, pods: Pods, ports: dict[str, int]
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": profile.image.tag(gpu=pods.gpus > 0),
        "imagePullPolicy": profile.image.pull,
        "resources": _same(str(pods.cpus), f"{pods.memory}Gi", pods.gpus),
        "ports": [{"name": n, "containerPort": p} for n, p in ports.items()],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    environment = _environment(profile, component)
    if environment:
        container["env"] = environment
    sources = [s for s in (profile.storage.secret, profile.embed.model_secret) if s is not None]
    if sources:
        container["envFrom"] = [{"secretRef": {"name": s}} for s in sources]
    spec: dict[str, Any] = {
        "serviceAccountName": "gpo",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": GROUP,
            "fsGroup": GROUP,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    if profile.storage.bucket is None:
        container["volumeMounts"] = [{"name": DATA, "mountPath": profile.storage.volume.path}]
        spec["volumes"] = [{"name": DATA, "persistentVolumeClaim": {"claimName": "gpo-data"}}]
    if profile.image.pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": profile.image.pull_secret}]
    if pods.node_selector:
        spec["nodeSelector"] = pods.node_selector
    if pods.gpus:
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return {"metadata": {"labels": labels(component)}, "spec": spec}


def _environment(profile: ClusterProfile, component: str) -> list[dict[str, Any]]:
    if component != "serve":
        return []
    serve = profile.serve
    of_ray = {"RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2"} | ROTATION
    given = [{"name": name, "value": value} for name, value in of_ray.items()]
    if serve.database is not None:
        return [*given, {"name": "GPO_DATABASE", "value": serve.database}]
    reference = {"secretKeyRef": {"name": serve.database_secret, "key": "GPO_DATABASE"}}
    return [*given, {"name": "GPO_DATABASE", "valueFrom": reference}]


def _same(cpu: str, memory: str, gpus: int = 0) -> dict[str, Any]:
    """Make requests that equal the limits, since Ray counts on all resources in a pod's limits."""
    quantities = {"cpu": cpu, "memory": memory} | ({GPU: gpus} if gpus else {})
    return {"requests": quantities, "limits": quantities}


def _serving_probes() -> dict[str, Any]:
    """Make the probes of a serving pod.

    The pod gets requests while its proxy answers, and is restarted only if Ray itself does not answer.
    """
    raylet = "wget --timeout=2 -q -O- http://localhost:52365/api/local_raylet_healthz | grep success"
    alive = {"exec": {"command": ["bash", "-c", raylet]}, "timeoutSeconds": 5, "periodSeconds": 10}
    return {
        "startupProbe": alive | {"failureThreshold": 60},
        "livenessProbe": alive | {"failureThreshold": 12},
        "readinessProbe": {
            "httpGet": {"path": "/-/healthz", "port": SERVE_PORT},
            "timeoutSeconds": 5,
            "periodSeconds": 5,
            "failureThreshold": 2,
        },
    }
