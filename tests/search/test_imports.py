"""What training must not import: PyTorch's compiler takes 70 MiB and most of a second in every worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = """
import sys
from mu2net.nn.roots import backbone_from_config
from mu2net.core.agents import make_agent
from mu2net.core.population import Population
from mu2net.core.rng import generator
from mu2net.core.score import Scoring
from mu2net.search.executor import LocalExecutor
from mu2net.search.images import load_recorded_task
from mu2net.store.store import Store
from mu2net.train.child import ChildJob
from mu2net.train.group import TrainConfig, TrainGroup

store = Store.open(sys.argv[1])
backbone = backbone_from_config(store.config.backbone)
anatomy = backbone.anatomy
agent = make_agent(sys.argv[2], anatomy, Scoring(anatomy.num_params, anatomy.flops))
population = agent.begin(Population.start("one", store.root(), ()), generator("imports"))
proposals = agent.propose(population, generator("imports"), 2)
jobs = tuple(ChildJob(f"child-{number}", proposal, 3) for number, proposal in enumerate(proposals))
config = TrainConfig(num_validations=1, examples_per_validation=32, batch_size=16, threads=1)
group = TrainGroup(load_recorded_task(store, "one"), jobs, config, (5, "one", 0, 0), backbone)
trained = list(LocalExecutor(store).submit([group], lambda event: None, lambda: "no"))
assert len(trained) == 2 and all(child.metrics.flops > 0 for child in trained)
print(sorted({"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("agent", ["mu2net", "linear", "adapters:8"])
def test_training_and_counting_do_not_import_the_compiler(template: Path, agent: str) -> None:
    command = [sys.executable, "-c", TRAINING, str(template), agent]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
