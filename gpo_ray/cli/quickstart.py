"""The command ``gpo quickstart``."""

from __future__ import annotations

from gpo_ray.cli.options import Address, Json, Out
from gpo_ray.cli.output import print_json, progress


def quickstart(out: Out = "quickstart-out", address: Address = None, as_json: Json = False) -> None:
    """Run the whole pipeline on the embedded survey and language model, in a few minutes."""
    from gpo_ray.quickstart import run
    from gpo_ray.runtime.storage import Folder

    with Folder(out).writing():
        result = run(out, address, progress(as_json), quiet=as_json)
    if as_json:
        print_json(result)
