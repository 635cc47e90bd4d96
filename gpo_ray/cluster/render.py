"""Rendering all files of a profile as texts; the objects are made in kuberay.py and virtual_machines.py."""

from __future__ import annotations

from typing import Any

import yaml

from gpo_ray.cluster import kuberay, virtual_machines
from gpo_ray.cluster.profile import ClusterProfile

Documents = list[dict[str, Any]]


def render(profile: ClusterProfile) -> dict[str, str]:
    """Render the files of a profile.

    Returns:
        The texts by path under ``cluster/``, such as ``kuberay/overlays/gpu/rayjob-embed.yaml``.
    """
    overlay = f"kuberay/overlays/{profile.name}"
    volume = {} if profile.storage.bucket else {"storage.yaml": [kuberay.volume_claim(profile)]}
    documents: dict[str, Documents] = {
        "kuberay/base/namespace.yaml": [kuberay.namespace(profile)],
        "kuberay/base/service-account.yaml": [kuberay.service_account(profile)],
        "kuberay/base/kustomization.yaml": [
            kuberay.kustomization(profile, ["namespace.yaml", "service-account.yaml"], [])
        ],
        f"{overlay}/kustomization.yaml": [
            kuberay.kustomization(profile, ["../../base", *volume], kuberay.env_secrets(profile))
        ],
        **{f"{overlay}/{name}": found for name, found in volume.items()},
        f"{overlay}/raycluster.yaml": [kuberay.ray_cluster(profile)],
        f"{overlay}/rayjob-embed.yaml": [kuberay.embed_job(profile)],
        f"{overlay}/rayjob-train.yaml": [kuberay.train_job(profile)],
        f"{overlay}/rayjob-tune.yaml": [kuberay.tune_job(profile)],
        f"{overlay}/rayjob-evaluate.yaml": [kuberay.evaluate_job(profile)],
        f"{overlay}/rayservice.yaml": [kuberay.ray_service(profile), kuberay.disruption_budget(profile)],
    }
    for cloud in ("aws", "gcp"):
        machines = getattr(profile.clouds, cloud)
        if machines is not None:
            documents[f"ray_up/{cloud}.yaml"] = [virtual_machines.launcher(profile, cloud, machines)]
    return {place: _text(profile, place, found) for place, found in documents.items()}


def _text(profile: ClusterProfile, place: str, documents: Documents) -> str:
    # The base is the same for all profiles of a namespace, so its head names no profile.
    of = "" if place.startswith("kuberay/base/") else f" --profile {profile.name}"
    head = f"# Written by `gpo cluster render{of}`: change the profile, not this file.\n"
    return head + "---\n".join(_dump(d) for d in documents)


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes texts of several lines as blocks, and indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        """Increase the indent also for lists."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Return True, so that a value that occurs twice is written twice instead of as an alias."""
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _string)


def _dump(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
