"""kill -9 of the tuner: the same command ends with every trial once."""

import json
import random
import time

import pyarrow.parquet as pq
import pytest
import yaml
from synthetic import survey, tiny_config, tiny_search, write_survey_and_store

pytestmark = pytest.mark.slow
TRIALS = 6


@pytest.fixture
def command(tmp_path):
    """A search whose trials take a second or two."""
    write_survey_and_store(tmp_path, survey(groups=8, count=12))
    config = tiny_config(steps=60).model_dump(mode="json")
    config["validation"]["every"] = 20
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(config))
    search = tiny_search(tmp_path / "base.yaml", TRIALS)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(search))
    places = {"config": "search.yaml", "survey": "survey", "embeddings": "store", "out": "out"}
    options = [v for k, p in places.items() for v in (f"--{k}", tmp_path / p)]
    return ("tune", *options, "--json")


def ended(folder):
    """Bytes of the records of trials that ended."""
    found = {p.name: p.read_bytes() for p in folder.glob("trials/*.json")}
    return {name: data for name, data in found.items() if json.loads(data)["status"] != "running"}


@pytest.mark.minutes
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_search_ends_with_every_trial_once(gpo, command, tmp_path, seed):
    out = tmp_path / "out"
    moment = random.Random(seed)
    run = gpo(*command)
    run.wait_until(lambda: len(ended(out)) >= moment.randint(1, 3), 240, "trial that ended")
    time.sleep(moment.random())
    run.kill_all()
    kept = ended(out)
    assert 1 <= len(kept) <= TRIALS
    result = gpo(*command).result()
    assert (result["trials"], result["failed"]) == (TRIALS, 0)
    now = ended(out)
    assert sorted(now) == [f"{i:05d}.json" for i in range(TRIALS)]
    assert now.items() >= kept.items()
    rows = pq.read_table(out / "trials.parquet").to_pylist()
    assert [r["number"] for r in rows] == list(range(TRIALS))
    assert len({r["learning_rate"] for r in rows}) == TRIALS
    again = gpo(*command).result(60)
    assert again == result
