"""A client that asks a service for the same predictions until the file ``stop`` appears.

Run as a process on a host: ``URL KEY FOLDER QUESTIONS``. Every request's start, seconds and shares (or what
was wrong) are a line of ``requests.jsonl`` in the folder.
"""

import json
import sys
import time
from pathlib import Path

from gpo_ray.client import Client, ServiceError
from gpo_ray.model.texts import AnsweredSlate, Slate


def run(url: str, key: str, place: Path, questions: list[dict]) -> None:
    """Ask until told to stop."""
    slates = [Slate(prompt=q["prompt"], responses=tuple(q["responses"])) for q in questions]
    with Client(url, key) as client:
        context = [AnsweredSlate(prompt=s.prompt, responses=s.responses, choice=0) for s in slates[:4]]
        client.put_group("g", context)
        while not (place / "stop").exists():
            started = time.time()
            try:
                shares = [p.share for p in client.predict("g", slates[4:]).predictions]
            except ServiceError as e:
                shares = str(e)
            with (place / "requests.jsonl").open("a") as log:
                log.write(json.dumps([started, time.time() - started, shares]) + "\n")
            time.sleep(0.05)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4]))
