"""A system with one small task, on which both sides train."""

from __future__ import annotations

import pytest

from benchmarks.children import pipeline_of
from benchmarks.workplace import Setting, make_workplace
from mu2net.nn.roots import load_root

ROOT = "vit:dim=16,depth=3,heads=2,patch=8,image=16,layerscale=0.5"


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    backbone = load_root(ROOT).backbone
    pipelines = tuple(pipeline_of(backbone, augments=augments) for augments in (False, True))
    return make_workplace(
        tmp_path_factory.mktemp("place") / "system", Setting(ROOT, "demo:digits", 0), None, pipelines, 0
    )
