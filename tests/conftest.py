"""Settings and fixtures of all tests."""

import pytest
import torch
from hypothesis import settings
from tiny_model import save_tiny_model

settings.register_profile("unit", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("unit")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory):
    """Folder of a tiny chat model; do not change it, copy it."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-chat")


@pytest.fixture(scope="session")
def tiny_base_model(tmp_path_factory):
    """Folder of the same model without a chat template."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-base", chat_template=None)
