"""Process that saves and loads DeepSpeed checkpoints: ``python deepspeed_checkpoints.py FOLDER PORT``."""

import os
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed
from synthetic import tiny_config

from gpo_ray.errors import ConfigError
from gpo_ray.meta_training.checkpoints import resume
from gpo_ray.meta_training.deepspeed_engine import FORCE, DeepSpeedEngine
from gpo_ray.meta_training.engine import new_model
from gpo_ray.meta_training.progress import Progress

root, port = Path(sys.argv[1]), sys.argv[2]
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
torch.distributed.init_process_group("gloo")


class Evil:
    def __reduce__(self):
        return Path.touch, (root / "code ran",)


def engine(seed, stage):
    config = tiny_config(seed=seed)
    return DeepSpeedEngine(new_model(6, config), config, stage)


for stage in range(4):
    folder, first = root / f"zero {stage}", engine(0, stage)
    first.save(folder)
    Progress(step=4, best_weights=first.weights()).save(folder)
    other = engine(1, stage)
    assert resume(other, folder, "run").step == 4
    for name, tensor in first.weights().items():
        assert torch.equal(other.weights()[name], tensor), name
    assert FORCE not in os.environ
    for file in sorted(folder.rglob("*.pt")):
        bad = shutil.copytree(folder, root / f"bad {stage} {file.stem}")
        for write in (torch.save, lambda v, p: p.write_bytes(pickle.dumps(v))):
            write({"module": Evil(), "optimizer_state_dict": Evil()}, bad / file.relative_to(folder))
            with pytest.raises(ConfigError, match=r"^run: a checkpoint .* --restart forgets the run$"):
                resume(engine(1, stage), bad, "run")
assert not (root / "code ran").exists()
sys.stdout.write("all right\n")
