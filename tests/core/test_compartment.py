from __future__ import annotations

import pytest

from mu2net.core.compartment import Compartment, barred
from mu2net.core.population import Population

RULES = {
    "open": Compartment(),
    "secret": Compartment(is_private=True),
    "picky": Compartment(allow_from=frozenset({"open"})),
    "shy": Compartment(deny_from=frozenset({"open"})),
    "alone": Compartment(allow_from=frozenset()),
}


@pytest.mark.parametrize(
    ("task", "influence", "expected"),
    [
        ("open", {"open", "picky"}, ()),
        ("open", {"open", "secret", "shy"}, ("secret",)),
        ("secret", {"secret", "open"}, ()),
        ("picky", {"picky", "open"}, ()),
        ("picky", {"shy", "secret"}, ("secret", "shy")),
        ("shy", {"open", "picky"}, ("open",)),
        ("alone", {"alone"}, ()),
        ("alone", {"alone", "open"}, ("open",)),
        ("unknown", {"unknown", "open", "also unknown"}, ()),
    ],
)
def test_what_a_task_may_not_be_shaped_by(task, influence, expected):
    assert barred(task, influence, RULES) == expected


def test_allowed_and_private_is_private():
    rules = {**RULES, "picky": Compartment(allow_from=frozenset({"secret"}))}
    assert barred("picky", {"secret"}, rules) == ("secret",)


def test_a_population_holds_no_path_that_the_task_may_not_be_shaped_by(build):
    """What counts is the influence, not only whose path it is: ``b`` was built on ``a``."""
    anatomy = build.vit()
    paths = [
        build.path(anatomy, f"{name}/0/0/0", influence=frozenset(influence))
        for name, influence in (("a", "a"), ("b", "ab"), ("c", "c"))
    ]
    rules = {"d": Compartment(deny_from=frozenset({"a"}))}
    population = Population.start("d", build.root(anatomy), paths, compartments=rules)
    assert [path.task for path in population.others] == ["c"]
    assert len(Population.start("d", build.root(anatomy), paths).others) == 3
    assert set(population.sharers) >= set(paths[0].digests), "size is charged whoever shares it"
