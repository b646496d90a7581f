"""A tiny system of two public tasks and a private one, served."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mu2net.serve.app import create_app
from mu2net.serve.settings import Settings
from mu2net.system import System, evolution
from tests.system.conftest import SMALL, Here, evolved_template, one_thread, small, template, train_here

__all__ = ["evolved_template", "one_thread", "small", "template", "train_here"]


@pytest.fixture(scope="session")
def served_template(evolved_template, tmp_path_factory, pictures) -> Path:
    """The folder of a system with the evolved tasks ``one``, ``two``, and ``secret``, which is private."""
    place = tmp_path_factory.mktemp("served")
    directory = shutil.copytree(evolved_template, place / "system")
    with pytest.MonkeyPatch.context() as patch, System.open(directory) as system:
        patch.setattr(evolution, "ProcessExecutor", Here)
        system.add_task("secret", pictures(place / "secret", seed=7), is_private=True)
        system.evolve("secret", agent="finetune", children=1, **SMALL)
    return directory


@pytest.fixture
def system(served_template, tmp_path) -> Iterator[System]:
    with System.open(shutil.copytree(served_template, tmp_path / "system")) as opened:
        yield opened


@pytest.fixture
def files(system) -> list[Path]:
    """Test images of task one."""
    return sorted((Path(system.task("one").source) / "test").rglob("*.png"))


@pytest.fixture
def png(files) -> bytes:
    return files[0].read_bytes()


@pytest.fixture
def serve(system):
    """Gives clients of the system with other settings and tokens."""
    clients = []

    def make(settings=None, tokens=None, **options):
        settings = settings or Settings(**{"watch": 0.0, **options})
        client = TestClient(create_app(system.classifier(), settings, tokens), raise_server_exceptions=False)
        clients.append(client.__enter__())
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve) -> TestClient:
    return serve()


def encoded(width: int, height: int, kind: str = "PNG") -> bytes:
    """Return the bytes of a black image."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height)).save(stream, kind)
    return stream.getvalue()
