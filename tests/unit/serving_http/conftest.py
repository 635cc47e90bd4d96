"""A service with a real model and registry, called through ASGI."""

import logging

import pytest
from http_caller import Caller
from serving_backend import LocalBackend, LogLines, make_service


@pytest.fixture(scope="session")
def backend(tiny_language_model):
    return LocalBackend(tiny_language_model)


@pytest.fixture
def service(tmp_path, backend):
    backend.fails = backend.problem = None
    return make_service(tmp_path, backend)


@pytest.fixture
def log():
    logger, lines = logging.getLogger("gpo_ray.serving"), LogLines()
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(lines)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def call(service):
    return Caller(service)
