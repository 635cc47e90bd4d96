"""``gpo cluster check`` names each seeded mistake of a cluster's files, with its file and key."""

import re

import pytest
from synthetic_cluster import BASE, EMBED, GPU, LOCAL, commands, copy_cluster

from gpo_ray.cluster.check import check_folder

CLUSTER, SERVICE = f"{GPU}/raycluster.yaml", f"{GPU}/rayservice.yaml"
TRAIN, TUNE, EVALUATE = (f"{GPU}/rayjob-{stage}.yaml" for stage in ("train", "tune", "evaluate"))

# file, what is replaced (once), by what, and the key of the problem
MISTAKES = {
    "typo in a key of a RayCluster": (CLUSTER, "rayVersion:", "rayversion:", "spec.rayversion"),
    "typo in a key of a worker group": (
        CLUSTER,
        "minReplicas:",
        "minReplica:",
        "spec.workerGroupSpecs.0.minReplica",
    ),
    "typo in a key of a RayJob": (
        EMBED,
        "ttlSecondsAfterFinished:",
        "ttlSecondAfterFinished:",
        "spec.ttlSecondAfterFinished",
    ),
    "typo in a key of a RayService": (SERVICE, "serveConfigV2:", "serveConfig:", "spec.serveConfig"),
    "typo in a key of a pod": (
        CLUSTER,
        "serviceAccountName:",
        "serviceAcountName:",
        "spec.headGroupSpec.template.spec.serviceAcountName",
    ),
    "typo in a key of a container": (
        TRAIN,
        "imagePullPolicy:",
        "imagePulPolicy:",
        "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.imagePulPolicy",
    ),
    "typo in kind": (EMBED, "kind: RayJob", "kind: RayJobs", "apiVersion"),
    "no kind": (BASE + "/namespace.yaml", "kind: Namespace", "knid: Namespace", "kind"),
    "old api version of Ray": (EMBED, "ray.io/v1", "ray.io/v1alpha1", "apiVersion"),
    "wrong api version of a budget": (SERVICE, "policy/v1", "policy/v1beta1", "apiVersion"),
    "wrong api version of kustomize": (
        BASE + "/kustomization.yaml",
        "kustomize.config.k8s.io/v1beta1",
        "kustomize/v1",
        "apiVersion",
    ),
    "missing image": (
        TRAIN,
        "              image: registry.example.org/gpo-ray:0.1.0-cpu\n",
        "",
        "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.image",
    ),
    "image without a version": (
        CLUSTER,
        "gpo-ray:0.1.0-cpu",
        "gpo-ray",
        "spec.headGroupSpec.template.spec.containers.0.image",
    ),
    "image that may change": (
        CLUSTER,
        "gpo-ray:0.1.0-cpu",
        "gpo-ray:latest",
        "spec.headGroupSpec.template.spec.containers.0.image",
    ),
    "another version of the image": (
        EVALUATE,
        "gpo-ray:0.1.0-cpu",
        "gpo-ray:0.2.0-cpu",
        "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.image",
    ),
    "image without CUDA for GPUs": (
        EMBED,
        "gpo-ray:0.1.0-cuda",
        "gpo-ray:0.1.0-cpu",
        "spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.image",
    ),
    "another Ray": (
        TRAIN,
        "rayVersion: 2.60.0",
        "rayVersion: 2.59.0",
        "spec.rayVersion|spec.rayClusterSpec.rayVersion",
    ),
    "memory in GB": (
        CLUSTER,
        "memory: 32Gi",
        "memory: 32GB",
        "spec.headGroupSpec.template.spec.containers.0.resources.requests.memory",
    ),
    "memory without a unit": (
        CLUSTER,
        "memory: 32Gi",
        "memory: 32",
        "spec.headGroupSpec.template.spec.containers.0.resources.requests.memory",
    ),
    "memory in thousandths of a byte": (
        CLUSTER,
        "memory: 32Gi",
        "memory: 32m",
        "spec.headGroupSpec.template.spec.containers.0.resources.requests.memory",
    ),
    "more requested than the limit": (
        CLUSTER,
        "memory: 32Gi",
        "memory: 64Gi",
        "spec.headGroupSpec.template.spec.containers.0.resources.requests.memory",
    ),
    "cores in Gi": (
        CLUSTER,
        "cpu: '4'",
        "cpu: 4Gi",
        "spec.headGroupSpec.template.spec.containers.0.resources.requests.cpu",
    ),
    "half a GPU": (
        EMBED,
        "nvidia.com/gpu: 1",
        "nvidia.com/gpu: '0.5'",
        "spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.resources.requests.nvidia.com/gpu",
    ),
    "volume in GB": (
        LOCAL + "/storage.yaml",
        "storage: 5Gi",
        "storage: 5gb",
        "spec.resources.requests.storage",
    ),
    "no limit of memory": (
        LOCAL + "/rayjob-train.yaml",
        "                limits:\n                  cpu: '1'\n                  memory: 4Gi\n",
        "                limits:\n                  cpu: '1'\n",
        "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.resources.limits.memory",
    ),
    "start parameter that is a number": (
        CLUSTER,
        "num-cpus: '0'",
        "num-cpus: 0",
        "spec.headGroupSpec.rayStartParams.num-cpus",
    ),
    "replicas as text": (CLUSTER, "replicas: 1", "replicas: '1'", "spec.workerGroupSpecs.0.replicas"),
    "more replicas than the most": (CLUSTER, "replicas: 1\n", "replicas: 99\n", "spec.workerGroupSpecs.0"),
    "deadline as text": (
        EMBED,
        "activeDeadlineSeconds: 86400",
        "activeDeadlineSeconds: 24h",
        "spec.activeDeadlineSeconds",
    ),
    "cluster that stays": (
        EMBED,
        "shutdownAfterJobFinishes: true",
        "shutdownAfterJobFinishes: false",
        "spec",
    ),
    "anybody may connect": (CLUSTER, "  authOptions:\n    mode: token\n", "", "spec.authOptions"),
    "no such authentication": (CLUSTER, "mode: token", "mode: tokens", "spec.authOptions.mode"),
    "no such upgrade": (SERVICE, "type: NewCluster", "type: Rolling", "spec.upgradeStrategy.type"),
    "pod as root": (
        TRAIN,
        "runAsNonRoot: true",
        "runAsNonRoot: false",
        "spec.rayClusterSpec.headGroupSpec.template.spec.securityContext.runAsNonRoot",
    ),
    "probe of a port that is text": (
        SERVICE,
        "periodSeconds: 5",
        "periodSeconds: five",
        "spec.rayClusterConfig.workerGroupSpecs.0.template.spec.containers.0.readinessProbe.periodSeconds",
    ),
    "dangling Secret of the storage": (
        EMBED,
        "name: gpo-storage",
        "name: gpo-store",
        "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.envFrom.0.secretRef.name",
    ),
    "dangling Secret of the database": (
        SERVICE,
        "name: gpo-database",
        "name: database",
        "spec.rayClusterConfig.headGroupSpec.template.spec.containers.0.env.3.valueFrom.secretKeyRef.name",
    ),
    "Secret with a changing name": (
        GPU + "/kustomization.yaml",
        "disableNameSuffixHash: true",
        "disableNameSuffixHash: false",
        "generatorOptions.disableNameSuffixHash",
    ),
    "dangling volume": (
        LOCAL + "/rayjob-tune.yaml",
        "claimName: gpo-data",
        "claimName: data",
        "spec.rayClusterSpec.headGroupSpec.template.spec.volumes.0.persistentVolumeClaim.claimName",
    ),
    "mount of no volume": (
        LOCAL + "/rayjob-tune.yaml",
        "              volumeMounts:\n                - name: data",
        "              volumeMounts:\n                - name: dat",
        "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.volumeMounts.0.name",
    ),
    "dangling service account": (
        CLUSTER,
        "serviceAccountName: gpo",
        "serviceAccountName: ray",
        "spec.headGroupSpec.template.spec.serviceAccountName",
    ),
    "another namespace": (TRAIN, "namespace: gpo", "namespace: default", "metadata.namespace"),
    "kustomization of a missing file": (
        LOCAL + "/kustomization.yaml",
        "- storage.yaml",
        "- volume.yaml",
        "resources.1",
    ),
    "budget of no pods": (
        SERVICE,
        "matchLabels:\n      app.kubernetes.io/name: gpo-ray",
        "matchLabels:\n      app.kubernetes.io/name: gpo",
        "spec.selector.matchLabels",
    ),
    "command that does not exist": (TRAIN, "gpo train", "gpo fit", "spec.entrypoint"),
    "entrypoint that a shell would cut": (TRAIN, "gpo train", "true && gpo train", "spec.entrypoint"),
    "entrypoint with an open quote": (TRAIN, "gpo train", "'gpo train", r"spec.entrypoint|line \d+"),
    "option that does not exist": (TRAIN, "--zero-stage", "--zero", "spec.entrypoint"),
    "more GPUs than pods have": (EMBED, "--actors 4", "--actors 5", "spec.entrypoint"),
    "embeddings from elsewhere": (TRAIN, "gpo/embeddings", "gpo/embedings", "spec.entrypoint"),
    "output beside the volume": (
        LOCAL + "/rayjob-tune.yaml",
        "/data/tuning",
        "/tmp/tuning",
        "spec.entrypoint",
    ),
    "service of another bundle": (
        SERVICE,
        "bundle: s3://example-bucket/gpo/bundle",
        "bundle: s3://example-bucket/gpo/bundel",
        "spec.serveConfigV2.applications.0.deployments.0.user_config.bundle",
    ),
    "key that Serve would ignore": (
        SERVICE,
        "request_timeout_s",
        "request_timeout",
        "spec.serveConfigV2.http_options.request_timeout",
    ),
    "setting that we do not have": (
        SERVICE,
        "require_keys",
        "require_key",
        "spec.serveConfigV2.applications.0.args.require_key",
    ),
    "more GPUs than a serving pod has": (
        SERVICE,
        "gpus: 1.0",
        "gpus: 2.0",
        "spec.serveConfigV2.applications.0.args.encoder.gpus",
    ),
    "Serve config in wrong YAML": (
        SERVICE,
        "proxy_location: EveryNode",
        "proxy_location: [",
        "spec.serveConfigV2",
    ),
    "typo in the Serve file": ("serve/config.yaml", "http_options:", "http_option:", "http_option"),
    "Serve file of another application": (
        "serve/config.yaml",
        "gpo_ray.serving:build_app",
        "gpo_ray.serve:build_app",
        "applications.0.import_path",
    ),
    "deployment that does not exist": (
        "serve/config.yaml",
        "- name: Predictor",
        "- name: Predict",
        "applications.0.deployments.0.name",
    ),
    "page with several replicas": (
        "serve/config.yaml",
        "page: false",
        "page: true",
        "applications.0.args.page",
    ),
    "typo in a ray up file": ("ray_up/aws.yaml", "max_workers: 16", "max_worker: 16", "max_worker"),
    "head that is no node type": (
        "ray_up/gcp.yaml",
        "head_node_type: head",
        "head_node_type: main",
        "head_node_type",
    ),
    "machine type of another cloud": (
        "ray_up/gcp.yaml",
        "machineType: n2-standard-8",
        "InstanceType: n2-standard-8",
        "available_node_types.head.node_config.machineType",
    ),
    "ray up without token": (
        "ray_up/aws.yaml",
        "RAY_AUTH_MODE=token ray start --head",
        "ray start --head",
        "head_start_ray_commands",
    ),
    "key twice": (
        CLUSTER,
        "  rayVersion: 2.60.0\n",
        "  rayVersion: 2.60.0\n  rayVersion: 2.60.0\n",
        r"line \d+",
    ),
    "wrong indent": (CLUSTER, "  rayVersion", "   rayVersion", r"line \d+"),
    "image as root": (
        "docker/Dockerfile",
        "USER ray",
        "USER root",
        "FROM ... AS cpu",
    ),
    "image of a missing file": ("docker/Dockerfile", "COPY pyproject.toml", "COPY setup.py", r"line \d+"),
    "image of another Ray": (
        "docker/Dockerfile",
        "RAY_VERSION=2.60.0",
        "RAY_VERSION=2.9.0",
        "ARG RAY_VERSION",
    ),
    "image without CUDA target": ("docker/Dockerfile", "AS cuda", "AS gpu", "FROM ... AS cuda"),
    "alert rules that are elsewhere": (
        "monitoring/prometheus.yml",
        "alerts.yml",
        "rules.yml",
        "rule_files.0",
    ),
    "typo in an alert": ("monitoring/alerts.yml", "expr:", "exp:", r"groups\.0\.rules\.0\.exp"),
    "typo in a key of a job's environment": ("jobs/runtime_env.yaml", "excludes:", "exclude:", "exclude"),
    "a job's environment that sends data": (
        "jobs/runtime_env.yaml",
        "excludes:",
        "py_modules:",
        "excludes",
    ),
    "excludes of a job's environment that are no texts": (
        "jobs/runtime_env.yaml",
        "- .git\n",
        "- {}\n",
        "excludes",
    ),
    "dashboard in wrong JSON": (
        "monitoring/grafana-dashboard.json",
        '"panels": [',
        '"panels": [,',
        r"\(file\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_seeded_mistake_is_named_with_file_and_key(tmp_path, mistake):
    folder = copy_cluster(tmp_path)
    file, old, new, key = MISTAKES[mistake]
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    found = check_folder(folder, commands()).problems
    assert any(p.file == file and re.fullmatch(key, p.key) for p in found), "\n".join(map(str, found))
