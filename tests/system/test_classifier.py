from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mu2net.data.decode import decode_rgb
from mu2net.errors import ComponentError, ConfigError, UnknownNameError
from mu2net.nn.modules import Modules
from mu2net.nn.roots import load_root
from mu2net.system import System
from mu2net.system import classifier as classifier_module
from mu2net.system.classifier import TIE, Classifier, Prepared, _near_ties, require_int8
from mu2net.train.compute import thread_count


@pytest.fixture
def images(evolved):
    """Test images of both tasks, decoded."""
    files = [file for name in ("one", "two") for file in (Path(evolved.task(name).source) / "test").rglob("*.png")]
    return [decode_rgb(file, str(file)) for file in sorted(files)]


def labels(system, name, images):
    classes = system.task(name).classes
    return [classes.index(found.label) for found in system.predict(name, images)]


def test_all_tasks_at_once_answer_as_each_alone(evolved, images):
    classifier = evolved.classifier()
    edition = classifier.edition()
    found = classifier.classify(edition, images, {"one": range(len(images)), "two": range(len(images))})
    for name in ("one", "two"):
        assert found.logits[name].argmax(1).tolist() == labels(evolved, name, images)
        assert found.logits[name].dtype == np.float32
        powers = np.exp(found.logits[name] - found.logits[name].max(1, keepdims=True))
        alone = [dict(answer.top) for answer in evolved.predict(name, images)]
        expected = [[answer[label] for label in evolved.task(name).classes] for answer in alone]
        np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), expected, atol=1e-5)
    assert found.computed < found.asked, "the two paths share slots"


def test_near_ties_are_settled_by_the_path_alone(evolved, images, monkeypatch):
    """Then every answer has the bits of ``predict``."""
    monkeypatch.setitem(TIE, "float32", 1e9)
    classifier = evolved.classifier()
    found = classifier.classify(classifier.edition(), images, {"two": [0, 1, 30]})
    assert found.settled == 3
    powers = torch.softmax(torch.from_numpy(found.logits["two"]), 1).numpy()
    alone = [dict(answer.top) for answer in evolved.predict("two", [images[row] for row in (0, 1, 30)])]
    assert powers.tolist() == [[answer[label] for label in evolved.task("two").classes] for answer in alone]


def test_what_is_a_near_tie():
    logits = np.array([[0, 1, 1.00005], [0, 1, 1.0002], [3000, 1, 3000.2], [0, np.nan, 5], [-7, -7, -9]], np.float32)
    assert _near_ties(logits, 1e-4).tolist() == [0, 2, 3, 4]
    assert _near_ties(np.zeros((3, 1), np.float32), 1e-4).tolist() == []


def test_an_edition_is_one_moment(evolved, images):
    """A task that is removed answers until the next edition is asked for."""
    classifier = evolved.classifier()
    edition = classifier.edition()
    assert list(edition.tasks) == ["one", "two"]
    assert classifier.edition(edition) is edition
    evolved.remove("two")
    assert len(classifier.classify(edition, images, {"two": [0, 2]}).logits["two"]) == 2
    later = classifier.edition(edition)
    assert list(later.tasks) == ["one"]
    assert later.version > edition.version
    with pytest.raises(UnknownNameError, match="'two'"):
        classifier.classify(later, images, {"two": [0]})


def test_a_task_without_a_path_does_not_answer(system):
    assert list(system.classifier().edition().tasks) == []


def test_little_memory_changes_no_answer(evolved, images):
    much, little = evolved.classifier(), evolved.classifier(memory_limit=1)
    wanted = {"one": range(8), "two": range(8)}
    for _ in range(2):
        one, other = (each.classify(each.edition(), images, wanted) for each in (much, little))
        for name in wanted:
            assert one.logits[name].tolist() == other.logits[name].tolist()
    assert (len(little.modules), len(much.modules) > 5) == (1, True)
    assert little.modules.loads > much.modules.loads == len(much.modules)


def test_settling_a_near_tie_holds_one_component_at_a_time(evolved, images, monkeypatch):
    """Also then there are no more modules in memory than the limit allows."""
    monkeypatch.setattr(classifier_module, "TIE", dict.fromkeys(TIE, 1e9))
    alive, most = weakref.WeakSet(), []
    original = Modules.get

    def get(self, *arguments):
        module = original(self, *arguments)
        alive.add(module)
        gc.collect()
        most.append(len(alive))
        return module

    monkeypatch.setattr(Modules, "get", get)
    little = evolved.classifier(memory_limit=1)
    found = little.classify(little.edition(), images, {"one": range(8)})
    assert found.settled == 8
    assert max(most) <= 2  # the one that runs, and the one that comes


def test_what_no_path_needs_any_more_is_let_go_of(evolved, images):
    classifier = evolved.classifier()
    edition = classifier.edition()
    wanted = {"one": [0], "two": [0]}
    classifier.classify(edition, images, wanted)
    evolved.remove("two")
    later = classifier.edition(edition)
    classifier.classify(edition, images, wanted)
    classifier.classify(later, images, {"one": [0]})
    digests = {slot.digest for slot in evolved.path("one").slots}
    assert {digest for _, digest, _ in classifier.modules._modules} == digests
    assert classifier.modules.num_bytes == sum(size for _, size in classifier.modules._modules.values())


def test_what_an_old_edition_loads_again_is_let_go_of_at_its_end(evolved, images, monkeypatch):
    """Another thread meets the new edition while a batch of the old one runs."""
    classifier = evolved.classifier()
    edition = classifier.edition()
    expected = classifier.classify(edition, images, {"two": [0]}).logits["two"].tolist()
    evolved.remove("two")
    later, get = classifier.edition(edition), classifier.modules.get
    meanwhile = [lambda: classifier.classify(later, images, {"one": [0]})]

    def get_while_the_other_runs(*key):
        if meanwhile:
            meanwhile.pop()()
        return get(*key)

    monkeypatch.setattr(classifier.modules, "get", get_while_the_other_runs)
    assert classifier.classify(edition, images, {"two": [0]}).logits["two"].tolist() == expected
    digests = {slot.digest for slot in evolved.path("one").slots}
    assert {digest for _, digest, _ in classifier.modules._modules} <= digests


def test_images_that_were_prepared(evolved, images):
    classifier = evolved.classifier()
    edition = classifier.edition()
    plain = classifier.classify(edition, images[:2], {"one": [0, 1]})
    prepared = classifier.classify(edition, [Prepared(image, {8}) for image in images[:2]], {"one": [0, 1]})
    assert plain.logits["one"].tolist() == prepared.logits["one"].tolist()
    assert Prepared(images[0], {8})._image is None, "the large one is let go of"
    with pytest.raises(ValueError, match=r"prepared for the sides \[8, 12\], not for 16"):
        Prepared(images[0], {8, 12}).squeezed(16)


def test_equal_images_are_computed_once(evolved, images):
    classifier = evolved.classifier()
    edition = classifier.edition()
    prepared = [Prepared(images[row], {8}, bytes([row])) for row in (0, 1, 0, 1, 0)]
    found = classifier.classify(edition, prepared, {"one": [1, 2, 4], "two": [0, 1, 2, 3]})
    alone = classifier.classify(edition, images[:2], {"one": [0, 1], "two": [0, 1]})
    assert found.computed == alone.computed
    assert found.asked == alone.asked // 4 * 7
    assert found.logits["one"].tolist() == alone.logits["one"][[1, 0, 0]].tolist()
    assert found.logits["two"].tolist() == alone.logits["two"][[0, 1, 0, 1]].tolist()


def test_images_are_equal_only_where_their_inputs_are(images):
    first, same, other = (Prepared(images[0], sides, b"0") for sides in ({8, 12}, {12, 8}, {8}))
    assert first.content == same.content != other.content
    assert Prepared(images[0], {8}).content is None


def test_threads_may_use_it_at_once(evolved, images):
    """Components are loaded by both, and let go of by both."""
    expected = {name: labels(evolved, name, images) for name in ("one", "two")}
    classifier = evolved.classifier(memory_limit=1)
    edition = classifier.edition()

    def ask(number):
        rows = range(number, len(images), 3)
        with thread_count(1 + number % 2):
            found = classifier.classify(edition, images, {"one": rows, "two": rows})
        return all(found.logits[name].argmax(1).tolist() == [expected[name][row] for row in rows] for name in expected)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, [0, 1, 2] * 8))
    assert len(classifier.modules) == 1
    assert classifier.modules.num_bytes == sum(size for _, size in classifier.modules._modules.values())


def test_near_ties_are_settled_with_the_threads_of_the_process(evolved, images, monkeypatch):
    monkeypatch.setitem(TIE, "float32", 1e9)
    seen, predict = [], classifier_module.predict_logits
    monkeypatch.setattr(
        classifier_module,
        "predict_logits",
        lambda *given, **options: seen.append(torch.get_num_threads()) or predict(*given, **options),
    )
    classifier = evolved.classifier()
    with thread_count(classifier.threads + 1):
        classifier.classify(classifier.edition(), images, {"two": [0]})
        assert torch.get_num_threads() == classifier.threads + 1
    assert seen == [classifier.threads]


def test_a_damaged_component_is_named(evolved, images):
    classifier = evolved.classifier()
    digest = evolved.path("one").slots[-1].digest
    file = evolved.directory / "components" / "sha256" / digest[:2] / f"{digest}.safetensors"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ComponentError, match=digest):
        classifier.classify(classifier.edition(), images, {"one": [0]})


def test_another_arithmetic_for_all_paths(evolved, images):
    exact, rounded = evolved.classifier(), evolved.classifier(precision="bfloat16")
    wanted = {"one": range(16)}
    logits = [each.classify(each.edition(), images, wanted).logits["one"] for each in (exact, rounded)]
    assert logits[0].tolist() != logits[1].tolist()
    np.testing.assert_allclose(logits[0], logits[1], atol=0.1)
    assert {task.compute.precision for task in rounded.edition().tasks.values()} == {"bfloat16"}


def test_8_bit_integers(evolved, images):
    """Answers are those of every path alone in 8 bits, whoever keeps it company."""
    classifier = evolved.classifier(precision="int8")
    edition = classifier.edition()
    rows = range(len(images))
    together = classifier.classify(edition, images, {"one": rows, "two": rows})
    exact = evolved.classifier()
    expected = exact.classify(exact.edition(), images, {"one": rows, "two": rows})
    assert {task.precision for task in edition.tasks.values()} == {"int8"}
    assert together.computed < together.asked, "they share slots as before"
    assert classifier.modules.num_bytes < exact.modules.num_bytes
    for name in ("one", "two"):
        assert together.logits[name].tolist() != expected.logits[name].tolist()
        np.testing.assert_allclose(together.logits[name], expected.logits[name], atol=0.1)
        for row in rows:
            (alone,) = classifier.classify(edition, images, {name: [row]}).logits[name]
            assert alone.argmax() == together.logits[name][row].argmax()
            np.testing.assert_allclose(alone, together.logits[name][row], atol=2e-2)


def test_a_path_that_may_not_change_runs_as_it_was_trained(evolved, images):
    asked = []

    def judge(path):
        asked.append(path.task)
        return path.task == "two"

    classifier = evolved.classifier(precision="int8", judge=judge)
    edition = classifier.edition()
    assert [(task.name, task.precision) for task in edition.tasks.values()] == [("one", "float32"), ("two", "int8")]
    found = classifier.classify(edition, images, {"one": [0, 1], "two": [0, 1]})
    exact = evolved.classifier()
    expected = exact.classify(exact.edition(), images, {"one": [0, 1], "two": [0, 1]})
    np.testing.assert_allclose(found.logits["one"], expected.logits["one"], atol=1e-5)
    assert found.logits["two"].tolist() != expected.logits["two"].tolist()
    assert found.computed == found.asked, "they share no activation any more"
    evolved.remove("one")
    assert set(classifier.edition(edition).tasks) == {"two"}
    assert asked == ["one", "two"], "once for every path"
    assert evolved.classifier(precision="float32", judge=judge).edition().tasks["two"].precision == "float32"
    assert asked == ["one", "two"], "nobody is asked where nothing changes"


def test_int8_is_for_transformers_on_a_cpu(evolved):
    with pytest.raises(ConfigError, match="this root is convolutional; use float32"):
        require_int8(load_root("efficientnet-lite0", image_size=32).backbone, torch.device("cpu"))
    with pytest.raises(ConfigError, match="runs on the CPU, not on 'cuda'"):
        require_int8(evolved._backbone, torch.device("cuda"))


def test_every_component_is_loaded_once_for_all_paths(evolved, images, monkeypatch):
    asked = []
    get = Modules.get
    monkeypatch.setattr(
        Modules, "get", lambda self, slot, digest, variant="": asked.append(digest) or get(self, slot, digest)
    )
    classifier = evolved.classifier()
    classifier.classify(classifier.edition(), [Image.new("RGB", (9, 5))], {"one": [0], "two": [0]})
    digests = {slot.digest for name in ("one", "two") for slot in evolved.path(name).slots}
    assert classifier.modules.loads == len(digests) == len(set(asked))


def test_a_system_gives_classifiers(evolved):
    assert isinstance(evolved.classifier(), Classifier)
    assert isinstance(evolved, System)
