"""The fields of KubeRay's ``ray.io/v1`` that we use, and no others; Kubernetes drops keys it does not know.

Taken from ray-operator/apis/ray/v1 of ray-project/kuberay (1.6). Pod templates and other Kubernetes types
are checked by :mod:`gpo_ray.cluster.kubernetes`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Template = dict[str, Any]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Crd(BaseModel):
    """Keys as KubeRay spells them; numbers are not taken for strings, nor strings for numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Metadata(Crd):
    """Of an object."""

    name: str = Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=47)
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AutoscalerOptions(Crd):
    """Of the autoscaler beside the head."""

    version: Literal["v1", "v2"] | None = None
    idleTimeoutSeconds: Count | None = None  # noqa: N815
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None  # noqa: N815
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"] | None = None  # noqa: N815
    resources: Template | None = None
    env: list[Template] | None = None
    envFrom: list[Template] | None = None  # noqa: N815


class AuthOptions(Crd):
    """Who may talk to the cluster."""

    mode: Literal["token", "disabled"]
    secretName: str | None = None  # noqa: N815


class RedisCredential(Crd):
    """A password, by reference."""

    valueFrom: Template  # noqa: N815


class GcsFaultToleranceOptions(Crd):
    """Where the cluster's state outlives its head."""

    redisAddress: str  # noqa: N815
    redisPassword: RedisCredential | None = None  # noqa: N815


class HeadGroup(Crd):
    """The head pod."""

    rayStartParams: dict[str, str]  # noqa: N815
    template: Template
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = None  # noqa: N815


class WorkerGroup(Crd):
    """Pods of one kind."""

    groupName: str = Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$")  # noqa: N815
    replicas: Count
    minReplicas: Count  # noqa: N815
    maxReplicas: Count  # noqa: N815
    rayStartParams: dict[str, str]  # noqa: N815
    template: Template
    idleTimeoutSeconds: Count | None = None  # noqa: N815

    @model_validator(mode="after")
    def _in_range(self) -> WorkerGroup:
        if not self.minReplicas <= self.replicas <= self.maxReplicas:
            raise ValueError(
                f"replicas ({self.replicas}) must lie between minReplicas ({self.minReplicas}) "
                f"and maxReplicas ({self.maxReplicas})"
            )
        return self


class RayClusterSpec(Crd):
    """A Ray cluster."""

    rayVersion: str = Field(pattern=r"^\d+\.\d+\.\d+$")  # noqa: N815
    authOptions: AuthOptions  # noqa: N815
    headGroupSpec: HeadGroup  # noqa: N815
    workerGroupSpecs: list[WorkerGroup] = Field(min_length=1)  # noqa: N815
    enableInTreeAutoscaling: bool = False  # noqa: N815
    autoscalerOptions: AutoscalerOptions | None = None  # noqa: N815
    gcsFaultToleranceOptions: GcsFaultToleranceOptions | None = None  # noqa: N815

    @model_validator(mode="after")
    def _agrees(self) -> RayClusterSpec:
        names = [g.groupName for g in self.workerGroupSpecs]
        if len(set(names)) < len(names):
            raise ValueError(f"workerGroupSpecs: groupName occurs twice in {names}")
        if self.autoscalerOptions is not None and not self.enableInTreeAutoscaling:
            raise ValueError("autoscalerOptions without enableInTreeAutoscaling: true do nothing")
        if not self.enableInTreeAutoscaling and any(
            g.minReplicas < g.maxReplicas for g in self.workerGroupSpecs
        ):
            raise ValueError(
                "workerGroupSpecs: maxReplicas above minReplicas needs enableInTreeAutoscaling: true"
            )
        return self


class SubmitterConfig(Crd):
    """Of the Kubernetes job that submits."""

    backoffLimit: Count  # noqa: N815


class RayJobSpec(Crd):
    """A job with a cluster of its own."""

    entrypoint: str = Field(min_length=1)
    rayClusterSpec: RayClusterSpec  # noqa: N815
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"] = "K8sJobMode"  # noqa: N815
    submitterConfig: SubmitterConfig | None = None  # noqa: N815
    backoffLimit: Count  # noqa: N815
    activeDeadlineSeconds: int = Field(gt=0, le=2**31 - 1)  # noqa: N815
    shutdownAfterJobFinishes: bool  # noqa: N815
    ttlSecondsAfterFinished: Count  # noqa: N815
    runtimeEnvYAML: str | None = None  # noqa: N815
    suspend: bool = False

    @model_validator(mode="after")
    def _ends(self) -> RayJobSpec:
        if not self.shutdownAfterJobFinishes:
            raise ValueError("shutdownAfterJobFinishes must be true: the cluster would stay, and its costs")
        return self


class UpgradeStrategy(Crd):
    """How a changed cluster takes over."""

    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]


class RayServiceSpec(Crd):
    """Serve applications with a cluster of their own."""

    serveConfigV2: str = Field(min_length=1)  # noqa: N815
    rayClusterConfig: RayClusterSpec  # noqa: N815
    upgradeStrategy: UpgradeStrategy  # noqa: N815
    rayClusterDeletionDelaySeconds: Count | None = None  # noqa: N815
    excludeHeadPodFromServeSvc: bool = False  # noqa: N815

    @model_validator(mode="after")
    def _no_downtime(self) -> RayServiceSpec:
        if self.upgradeStrategy.type == "None":
            raise ValueError("upgradeStrategy.type None never takes a changed cluster over; use NewCluster")
        return self


class RayCluster(Crd):
    """``kind: RayCluster``."""

    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Crd):
    """``kind: RayJob``."""

    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


class RayService(Crd):
    """``kind: RayService``."""

    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayService"]
    metadata: Metadata
    spec: RayServiceSpec


class SecretGenerator(Crd):
    """A Secret made of files."""

    name: str
    envs: list[str] = Field(default=[])
    files: list[str] = []


class GeneratorOptions(Crd):
    """Of what kustomize makes."""

    disableNameSuffixHash: Literal[True]  # noqa: N815


class Kustomization(Crd):
    """``kind: Kustomization``, as far as we use it."""

    apiVersion: Literal["kustomize.config.k8s.io/v1beta1"]  # noqa: N815
    kind: Literal["Kustomization"]
    namespace: str | None = None
    resources: list[str]
    generatorOptions: GeneratorOptions | None = None  # noqa: N815
    secretGenerator: list[SecretGenerator] = []  # noqa: N815

    @model_validator(mode="after")
    def _names_stay(self) -> Kustomization:
        if self.secretGenerator and self.generatorOptions is None:
            raise ValueError(
                "secretGenerator needs generatorOptions.disableNameSuffixHash: true: jobs name the Secrets"
            )
        return self


CRDS: dict[str, type[Crd]] = {
    "RayCluster": RayCluster,
    "RayJob": RayJob,
    "RayService": RayService,
    "Kustomization": Kustomization,
}
