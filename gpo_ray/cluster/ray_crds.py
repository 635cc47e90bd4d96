"""The fields of KubeRay's ``ray.io/v1`` that this project uses.

Other keys are errors here, since Kubernetes silently drops keys that it does not know. The fields are taken
from ray-operator/apis/ray/v1 of ray-project/kuberay (1.6). Pod templates and other Kubernetes types are
checked by :mod:`gpo_ray.cluster.kubernetes`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Template = dict[str, Any]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Crd(BaseModel):
    """A base class with keys as KubeRay spells them; numbers are not accepted as strings, nor vice versa."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Metadata(Crd):
    """The metadata of an object."""

    name: str = Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=47)
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AutoscalerOptions(Crd):
    """The options of the autoscaler, which runs beside the head."""

    version: Literal["v1", "v2"] | None = None
    idleTimeoutSeconds: Count | None = None  # noqa: N815
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None  # noqa: N815
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"] | None = None  # noqa: N815
    resources: Template | None = None
    env: list[Template] | None = None
    envFrom: list[Template] | None = None  # noqa: N815


class AuthOptions(Crd):
    """The rule of who may access the cluster."""

    mode: Literal["token", "disabled"]
    secretName: str | None = None  # noqa: N815


class RedisCredential(Crd):
    """A reference to a password."""

    valueFrom: Template  # noqa: N815


class GcsFaultToleranceOptions(Crd):
    """The Redis in which the cluster's state survives the head."""

    redisAddress: str  # noqa: N815
    redisPassword: RedisCredential | None = None  # noqa: N815


class HeadGroup(Crd):
    """The group of the head pod."""

    rayStartParams: dict[str, str]  # noqa: N815
    template: Template
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = None  # noqa: N815


class WorkerGroup(Crd):
    """A group of worker pods of one kind."""

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
    """The specification of a Ray cluster."""

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
    """The settings of the Kubernetes job that submits a Ray job."""

    backoffLimit: Count  # noqa: N815


class RayJobSpec(Crd):
    """The specification of a job with its own cluster."""

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
    """The way in which a changed cluster replaces the running one."""

    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]


class RayServiceSpec(Crd):
    """The specification of Serve applications with their own cluster."""

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
    """An object of ``kind: RayCluster``."""

    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Crd):
    """An object of ``kind: RayJob``."""

    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


class RayService(Crd):
    """An object of ``kind: RayService``."""

    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayService"]
    metadata: Metadata
    spec: RayServiceSpec


class SecretGenerator(Crd):
    """A Secret that kustomize makes of files."""

    name: str
    envs: list[str] = Field(default=[])
    files: list[str] = []


class GeneratorOptions(Crd):
    """The options of the objects that kustomize makes."""

    disableNameSuffixHash: Literal[True]  # noqa: N815


class Kustomization(Crd):
    """An object of ``kind: Kustomization``, with the fields that this project uses."""

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
