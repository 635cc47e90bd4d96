"""The files for ``ray up``, which starts virtual machines of AWS or GCP that run the image."""

from __future__ import annotations

from typing import Any

from gpo_ray.cluster.profile import ClusterProfile, Machines, Pods

Object = dict[str, Any]
TOKEN = "/home/ray/.ray/auth_token"  # noqa: S105 - a path
IMAGE_FAMILY = "projects/deeplearning-platform-release/global/images/family/common-cu121"
CLIENTS = {"aws": "boto3", "gcp": "google-api-python-client"}
"""Python package of each cloud with which the autoscaler on the head starts machines."""
START = "ulimit -n 65536; RAY_AUTH_MODE=token ray start"


def launcher(profile: ClusterProfile, cloud: str, machines: Machines) -> Object:
    """Make the cluster file that ``ray up`` reads."""
    cluster = profile.cluster
    head = Pods(cpus=cluster.head.cpus, memory=cluster.head.memory)
    types = {
        "head": {"resources": {"CPU": 0}, "node_config": _node(cloud, machines, machines.head, head)},
        "cpu": _workers(profile, cloud, machines, machines.cpu, cluster.cpu),
    }
    if cluster.gpu is not None:
        types["gpu"] = _workers(profile, cloud, machines, machines.gpu, cluster.gpu)
    return {
        "cluster_name": f"gpo-{profile.name}",
        "max_workers": sum(w.max for w in cluster.groups),
        "idle_timeout_minutes": max(1, round(cluster.idle_seconds / 60)),
        "provider": _provider(cloud, machines),
        "auth": {"ssh_user": "ubuntu"},
        "docker": {
            "image": profile.image.tag(gpu=False),
            "container_name": "gpo",
            "pull_before_run": True,
            "run_options": ["--ulimit nofile=65536:65536", "--env RAY_AUTH_MODE=token"],
        },
        "available_node_types": types,
        "head_node_type": "head",
        "file_mounts": {TOKEN: "~/.ray/auth_token"},
        "head_setup_commands": [f"pip install -c /opt/gpo_ray/constraints.txt {CLIENTS[cloud]}"],
        "head_start_ray_commands": [
            "ray stop",
            f"{START} --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", f"{START} --address=$RAY_HEAD_IP:6379"],
    }


def _workers(profile: ClusterProfile, cloud: str, machines: Machines, kind: str, pods: Pods) -> Object:
    made: Object = {
        "min_workers": pods.min,
        "max_workers": pods.max,
        "resources": {"CPU": pods.cpus} | ({"GPU": pods.gpus} if pods.gpus else {}),
        "node_config": _node(cloud, machines, kind, pods),
    }
    if pods.gpus:
        made["docker"] = {"worker_image": profile.image.tag(gpu=True)}
    return made


def _provider(cloud: str, machines: Machines) -> Object:
    made: Object = {"type": cloud, "region": machines.region, "availability_zone": machines.zone}
    return made | ({"project_id": machines.project} if cloud == "gcp" else {"cache_stopped_nodes": False})


def _node(cloud: str, machines: Machines, kind: str, pods: Pods) -> Object:
    if cloud == "aws":  # Ray fills in its default machine image for the region
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": machines.disk, "VolumeType": "gp3"}}
        return {"InstanceType": kind, "BlockDeviceMappings": [disk]}
    boot = {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {"diskSizeGb": machines.disk, "sourceImage": IMAGE_FAMILY},
    }
    made: Object = {"machineType": kind, "disks": [boot]}
    if pods.gpus:
        made["metadata"] = {"items": [{"key": "install-nvidia-driver", "value": "True"}]}
        made["scheduling"] = [{"onHostMaintenance": "TERMINATE"}]
    return made
