"""Copies of the shipped cluster files, to make mistakes in."""

import functools
import shutil
from pathlib import Path

import typer

import gpo_ray
from gpo_ray.cli.cluster import command_options

ROOT = Path(gpo_ray.__file__).parents[1]
GPU, LOCAL, BASE = "kuberay/overlays/gpu", "kuberay/overlays/local", "kuberay/base"
EMBED = f"{GPU}/rayjob-embed.yaml"


def copy_cluster(folder):
    """The shipped files, beside what the image is built from; returns the cluster folder."""
    shutil.copytree(ROOT / "cluster", folder / "cluster", ignore=shutil.ignore_patterns("secrets"))
    for name in (
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "scripts",
        "gpo_ray",
        "tune_configs",
    ):
        (folder / name).symlink_to(ROOT / name)
    return folder / "cluster"


@functools.cache
def commands():
    """Options of every command."""
    from gpo_ray.cli import app

    return command_options(typer.main.get_command(app))
