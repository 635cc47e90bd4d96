"""The single-process engine's optimiser."""

import subprocess
import sys

import torch

from gpo_ray.meta_training.engine import EagerAdamW

IMPORTS = """
import sys
import torch
from gpo_ray.meta_training.engine import EagerAdamW

weight = torch.nn.Parameter(torch.ones(3))
optimizer = EagerAdamW([weight])
optimizer.zero_grad()
weight.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""


def trained(optimizer_class):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 1))
    inputs = torch.randn(20, 5)
    optimizer = optimizer_class(model.parameters(), lr=0.01, weight_decay=0.1)
    for step in range(6):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
        if step == 3:
            state = optimizer.state_dict()
            optimizer = optimizer_class(model.parameters(), lr=0.5)
            optimizer.load_state_dict(state)
    return optimizer, model


def test_its_steps_are_those_of_torch():
    (optimizer, model), (other, expected) = trained(EagerAdamW), trained(torch.optim.AdamW)
    for one, two in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, two)
    assert optimizer.state_dict()["param_groups"] == other.state_dict()["param_groups"]
    assert optimizer.state_dict()["state"].keys() == other.state_dict()["state"].keys()


def test_it_imports_no_compiler():
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=120)
