"""Trials that are meta-trained by two workers each."""

import pyarrow.parquet as pq
import pytest
import yaml
from synthetic import survey, tiny_config, tiny_search, write_survey_and_store

pytestmark = pytest.mark.slow


@pytest.mark.minutes
def test_trials_of_two_workers_find_what_one_finds_and_stopped_ones_leave_their_place(gpo, tmp_path):
    write_survey_and_store(tmp_path, survey(groups=8, count=12))
    config = tiny_config(steps=8, model={**tiny_config().model.model_dump(), "prior": "none"})
    config = config.model_dump(mode="json")
    config["validation"] |= {"every": 2, "patience": 100}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(config))
    rates = [1e-3, 1e-6, 1e30]  # the second is stopped, the third diverges
    search = tiny_search(
        tmp_path / "base.yaml",
        len(rates),
        space={"learning_rate": {"choice": rates}},
        start=[{"learning_rate": r} for r in rates],
        scheduler={"grace": 2, "reduction": 2},
    )
    rows = {}
    # of 4 CPUs, so that one trial at a time finds room for its workers, and a place that is kept is missed
    for workers, cpus in ((2, 2), (1, 1)):
        file = tmp_path / f"search-{workers}.yaml"
        file.write_text(yaml.safe_dump(search | {"workers": workers, "cpus": cpus, "concurrent": 1}))
        places = {"config": file.name, "survey": "survey", "embeddings": "store", "out": f"out-{workers}"}
        options = [v for k, p in places.items() for v in (f"--{k}", tmp_path / p)]
        result = gpo("tune", *options, "--json").result(420)
        assert (result["trials"], result["failed"], result["stopped"]) == (3, 1, 1)
        rows[workers] = pq.read_table(tmp_path / f"out-{workers}" / "trials.parquet").to_pylist()
    for found, expected in zip(rows[2], rows[1], strict=True):
        assert (found["status"], found["steps"]) == (expected["status"], expected["steps"])
        assert (found["reason"] or "")[:20] == (expected["reason"] or "")[:20]
        if expected["status"] != "failed":
            assert found["trained_alignment"] == pytest.approx(expected["trained_alignment"], abs=1e-4)
