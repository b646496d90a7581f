"""Many paths as one network: the same answers as every path alone, and every shared slot once."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mu2net.core.anatomy import HEAD, adapter_slot
from mu2net.core.component import Component, Digest, Slot
from mu2net.core.path import Path
from mu2net.errors import UnknownNameError
from mu2net.nn.chain import build_chain
from mu2net.nn.network import Answers, Entry, Network, Part, Route
from mu2net.nn.roots import load_root

VIT = "vit:dim=32,depth=3,heads=2,patch=4,image=8"


class World:
    """Paths over one root: components by digest, and the network of some of the paths."""

    def __init__(self, root=VIT, image_size=None):
        loaded = load_root(root, image_size=image_size, seed=3)
        self.backbone, self.root, self.tensors, self.runs = loaded.backbone, loaded.components, {}, []
        self.generator = torch.Generator().manual_seed(0)
        side = self.backbone.anatomy.image_size
        self.images = torch.randn(7, 3, side, side, generator=self.generator)

    def component(self, slot, tensors, name):
        digest = Digest(f"{slot.name}-{name}")
        self.tensors[digest] = (slot, tensors)
        return Component(digest, slot, 1)

    def path(self, name, own, classes=5):
        """Return a path that has its own version of some slots: of blocks by number, with an adapter where negative."""
        components = []
        for slot, tensors in self.root:
            number = int(slot.name.removeprefix("block_")) + 1 if slot.kind == "block" else 0
            if number and -number in own:
                place = adapter_slot(number - 1)
                blank = self.backbone.fresh(place, 0, adapter_dim=4)
                components.append(self.component(place, self.moved(blank), name))
            if number in own:
                components.append(self.component(slot, self.moved(tensors), name))
            else:
                components.append(self.component(slot, tensors, "root"))
        head = self.backbone.fresh(HEAD, 0, num_classes=classes)
        components.append(self.component(HEAD, self.moved(head, 0.5), name))
        return Path(name, name, tuple(components), {})

    def moved(self, tensors, by=0.05):
        moved = {n: t + by * torch.randn(t.shape, generator=self.generator) for n, t in tensors.items()}
        return {n: t.abs() if n.endswith("running_var") else t for n, t in moved.items()}

    def chain(self, path):
        parts = [(component.slot, self.tensors[component.digest][1]) for component in path.components]
        return build_chain(self.backbone, parts).eval()

    def route(self, path, entry="images"):
        return Route.of(path.id, entry, path, self.backbone)

    def module_of(self, part):
        self.runs.append(part)
        return self.backbone.module(*self.tensors[part.digest]).eval()

    def network(self, paths):
        routes = [self.route(path) for path in paths]
        return Network(routes, self.module_of, channels_last=self.backbone.is_convolutional)

    def entry(self):
        return Entry(lambda rows: self.images[list(rows)], nullcontext)

    def run(self, network, wanted):
        return network.run({"images": self.entry()}, wanted)

    def alone(self, path, rows):
        with torch.inference_mode():
            return self.chain(path)(self.images[list(rows)])


def test_what_paths_share_runs_once():
    world = World()
    paths = [world.path("a", []), world.path("b", [3]), world.path("c", [2, 3]), world.path("d", [-3])]
    answers = world.run(world.network(paths), {path.id: range(7) for path in paths})
    for path in paths:
        torch.testing.assert_close(answers.logits[path.id], world.alone(path, range(7)), rtol=0, atol=1e-5)
    names = [part.digest for part in world.runs]
    assert len(names) == len(set(names)) + 4  # the root's norm ends four trunks, its last block is in two
    assert (answers.asked, answers.computed) == (7 * (7 + 7 + 7 + 8), 7 * len(names))
    assert answers.reuse == 1 - answers.computed / answers.asked > 0.3


def test_the_last_block_is_shared_only_where_it_is_the_last():
    """The same component computes the class token alone in one path, and all tokens below another block."""
    world = World()
    short, long = world.path("short", []), world.path("long", [])
    extra = Slot("block_03", "block")
    grown = world.component(extra, world.moved(world.tensors[short.components[4].digest][1]), "long")
    long = Path("long", "long", (*long.components[:5], grown, *long.components[5:]), {})
    answers = world.run(world.network([short, long]), {"short": [0, 1], "long": [0, 1]})
    for path in (short, long):
        torch.testing.assert_close(answers.logits[path.id], world.alone(path, [0, 1]), rtol=0, atol=1e-5)
    assert [part.computed_as for part in world.runs if part.slot.name == "block_02"] in (
        ["block_02", "block_02:class_token"],
        ["block_02:class_token", "block_02"],
    )


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_any_paths_for_any_images_answer_as_each_alone(data):
    world = World()
    names = data.draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True))
    own = st.sets(st.sampled_from([1, 2, 3, -1, -2, -3]), max_size=4)
    paths = [world.path(name, data.draw(own), data.draw(st.integers(2, 9))) for name in names]
    rows = st.lists(st.integers(0, 6), max_size=7, unique=True).map(sorted)
    wanted = {path.id: data.draw(rows) for path in paths}
    network = world.network(paths)
    answers = world.run(network, wanted)
    assert set(answers.logits) == {name for name, images in wanted.items() if images}
    for path in paths:
        if wanted[path.id]:
            alone = world.alone(path, wanted[path.id])
            torch.testing.assert_close(answers.logits[path.id], alone, rtol=0, atol=1e-5)
            only = world.run(network, {path.id: wanted[path.id]}).logits[path.id]
            assert torch.equal(only.argmax(1), answers.logits[path.id].argmax(1))
    assert answers.computed <= answers.asked


def test_a_convolutional_network_answers_as_each_path_alone():
    world = World("efficientnet-lite0", 32)
    paths = [world.path("a", []), world.path("b", [15, 16]), world.path("c", [16])]
    wanted = {"a": [0, 2, 3], "b": [1, 2], "c": [6]}
    answers = world.run(world.network(paths), wanted)
    for path in paths:
        alone = world.alone(path, wanted[path.id])
        largest = alone.abs().max().item()  # an image in company is rounded otherwise, by a part of what is summed
        torch.testing.assert_close(answers.logits[path.id], alone, rtol=0, atol=1e-4 * largest)


def test_different_inputs_are_never_shared():
    """The same components behind another size of the images, say, or in another arithmetic."""
    world = World()
    path = world.path("a", [])
    network = Network([world.route(path, "one"), Route.of("b", "two", path, world.backbone)], world.module_of)
    entries = {"one": world.entry(), "two": Entry(lambda rows: -world.images[list(rows)], nullcontext)}
    answers = network.run(entries, {"a": [0, 1], "b": [1]})
    assert answers.computed == answers.asked == 3 * 7
    assert not torch.allclose(answers.logits["a"][1], answers.logits["b"][0])
    assert network.num_slots == 14
    with pytest.raises(ValueError, match=r"entries \['two'\]"):
        network.run({"one": world.entry()}, {"b": [0]})


def test_equal_paths_of_two_tasks_run_once():
    world = World()
    path = world.path("a", [])
    network = Network([world.route(path), Route.of("b", "images", path, world.backbone)], world.module_of)
    answers = world.run(network, {"a": [0, 1, 4], "b": [1, 2]})
    assert answers.computed == 4 * 7
    torch.testing.assert_close(answers.logits["b"], world.alone(path, [1, 2]), rtol=0, atol=1e-5)


def test_a_deep_network_needs_no_deep_recursion():
    parts = tuple(Part(Slot(f"block_{i}", "block"), Digest(f"{i:064}"), f"block_{i}") for i in range(3000))
    network = Network([Route("a", "images", parts)], lambda part: nn.Identity())
    answers = network.run({"images": Entry(lambda rows: torch.ones(len(rows), 2), nullcontext)}, {"a": [0]})
    assert answers.computed == 3000
    assert torch.equal(answers.logits["a"], torch.ones(1, 2))


def test_nothing_asked_is_nothing_run():
    world = World()
    answers = world.run(world.network([world.path("a", [])]), {"a": []})
    assert (answers.logits, answers.asked, answers.computed, answers.reuse) == ({}, 0, 0, 0.0)
    assert world.runs == []
    assert Answers({}, 4, 1).reuse == 0.75


def test_bad_requests_are_refused():
    world = World()
    path = world.path("a", [])
    network = world.network([path])
    with pytest.raises(UnknownNameError, match="'b'"):
        world.run(network, {"b": [0]})
    for rows in ([1, 0], [1, 1]):
        with pytest.raises(ValueError, match="not ascending"):
            world.run(network, {"a": rows})
    with pytest.raises(ValueError, match="two routes are called 'a'"):
        world.network([path, path])


@pytest.mark.parametrize(("root", "side", "own"), [(VIT, None, [1, -2]), ("efficientnet-lite0", 32, [1, 2])])
def test_a_part_computes_what_the_chain_computes(root, side, own):
    world = World(root, side)
    path = world.path("a", own)
    chain = world.chain(path)
    route = world.route(path)
    assert [part.computed_as for part in route.parts] == [chain.computed_as(i) for i in range(len(chain))]
    assert tuple(part.slot for part in route.parts) == chain.slots


def test_a_route_has_a_key_behind_every_slot():
    world = World()
    route = world.route(world.path("a", []))
    assert route.parts[0] == Part(Slot("patch_embed", "patch_embed"), Digest("patch_embed-root"), "patch_embed")
    assert len(route.keys) == len(route.parts) + 1
