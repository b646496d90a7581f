"""Tasks in every format: they answer without mu2net as they do with it, or are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageOps

from mu2net.data.decode import decode_rgb
from mu2net.errors import ComponentError, ConfigError, ExportError, UnknownNameError
from mu2net.export import compare, examples, formats
from mu2net.export.task import export_tasks
from mu2net.nn.timm_format import Settings, components_of_checkpoint
from mu2net.system import System

# Runs a program as on a machine that has no mu2net.
WITHOUT = (
    "import runpy, sys; sys.modules['mu2net'] = None; sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run_example(folder, picture):
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT, str(folder / "example.py"), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def pixels(picture, side):
    return np.array(Image.open(picture).convert("RGB").resize((side, side), Image.Resampling.BILINEAR))[None]


def probabilities(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def assert_answers(logits, system, name, picture):
    answer = dict(system.predict(name, [picture])[0].top)
    expected = [answer[label] for label in system.task(name).classes]
    np.testing.assert_allclose(probabilities(np.asarray(logits)), expected, atol=1e-5)


def test_torch_program(system, picture, tmp_path):
    exported = export_tasks(system.directory, ["two"], "torch", tmp_path / "out")
    assert exported.files == ("example.py", "facts.json", "labels.json", "model.pt2")
    assert (exported.tasks, exported.left_out, exported.notes) == (("two",), (), ())
    assert exported.images == 64
    assert exported.difference < 1e-5
    assert run_example(tmp_path / "out", picture) == [system.predict("two", [picture])[0].label]
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    for count in (1, 5):
        (logits,) = program(torch.from_numpy(np.repeat(pixels(picture, 8), count, axis=0)))
        assert_answers(logits[-1].detach(), system, "two", picture)


def test_onnx_of_one_task(system, picture, tmp_path):
    exported = export_tasks(system.directory, ["one"], "onnx", tmp_path / "out")
    assert exported.images == 64
    assert run_example(tmp_path / "out", picture) == ["one", system.predict("one", [picture])[0].label]
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert [(entry.name, entry.shape, entry.type) for entry in session.get_inputs()] == [
        ("images", ["batch", 8, 8, 3], "tensor(uint8)")
    ]
    for count in (1, 5):
        (logits,) = session.run(["logits"], {"images": np.repeat(pixels(picture, 8), count, axis=0)})
        assert_answers(logits[-1], system, "one", picture)


def test_onnx_of_all_tasks_has_what_they_share_once(system, picture, tmp_path):
    exported = export_tasks(system.directory, ["*"], "onnx", tmp_path / "all")
    assert (exported.tasks, exported.left_out) == (("one", "two"), ("secret",))
    held = sum(
        int(np.prod(tensor.dims)) for tensor in onnx.load(str(tmp_path / "all" / "model.onnx")).graph.initializer
    )
    slots = [slot for name in ("one", "two") for slot in system.path(name).slots]
    assert held < sum(slot.num_params for slot in slots)
    assert held == pytest.approx(sum({slot.digest: slot.num_params for slot in slots}.values()), rel=0.05)
    session = onnxruntime.InferenceSession(tmp_path / "all" / "model.onnx")
    assert [entry.name for entry in session.get_outputs()] == ["logits/one", "logits/two"]
    for name, logits in zip(("one", "two"), session.run(None, {"images": pixels(picture, 8)}), strict=True):
        assert_answers(logits[0], system, name, picture)
    labels = [system.predict(name, [picture])[0].label for name in ("one", "two")]
    assert run_example(tmp_path / "all", picture) == ["one", labels[0], "two", labels[1]]


def test_tasks_with_inputs_of_different_sizes(system, picture, tmp_path, small):
    hparams = {**small["hparams"], "ds_image_size": 12}
    system.add_task("large", Path(system.task("one").source))
    system.evolve("large", agent="finetune", children=1, **{**small, "hparams": hparams}, fixed=["ds_image_size"])
    export_tasks(system.directory, ["one", "large"], "onnx", tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert [entry.name for entry in session.get_inputs()] == ["images_8", "images_12"]
    inputs = {"images_8": pixels(picture, 8), "images_12": pixels(picture, 12)}
    for name, logits in zip(("one", "large"), session.run(None, inputs), strict=True):
        assert_answers(logits[0], system, name, picture)
    said = [found for name in ("one", "large") for found in (name, system.predict(name, [picture])[0].label)]
    assert run_example(tmp_path / "out", picture) == said


def photographs():
    """Return photographs that are more than their pixels, by name."""
    rng = np.random.default_rng(3)
    colour = Image.fromarray(rng.integers(0, 256, (9, 14, 3), np.uint8))
    alpha = Image.fromarray(rng.integers(0, 256, (9, 14), np.uint8))
    upside = Image.Exif()
    upside[0x0112] = 6  # turned by a quarter
    veiled = colour.copy()
    veiled.putalpha(alpha)
    gray = Image.merge("LA", (alpha, alpha.rotate(180)))
    palette = colour.quantize(16)
    return {
        "turned.jpg": (colour, {"exif": upside}),
        "inks.jpg": (colour.convert("CMYK"), {}),
        "veiled.png": (veiled, {}),
        "gray.png": (gray, {}),
        "palette.png": (palette, {"transparency": 3}),
        "bits.png": (alpha.convert("1"), {}),
    }


@pytest.mark.parametrize("program", [examples.TIMM, examples.PROGRAM, examples.ONNX])
def test_examples_decode_photographs_as_the_system_does(tmp_path, monkeypatch, program):
    lines = [line for line in program.splitlines() if line.startswith("photo = ")]
    assert len(lines) == 2
    for name, (image, options) in photographs().items():
        image.save(tmp_path / name, **options)
        monkeypatch.setattr(sys, "argv", ["example.py", str(tmp_path / name)])
        found = {"Image": Image, "ImageOps": ImageOps, "sys": sys}
        exec("\n".join(lines), found)
        np.testing.assert_array_equal(np.array(found["photo"]), np.array(decode_rgb(tmp_path / name, name)), name)


def test_a_veiled_photograph_through_the_whole_example(system, tmp_path):
    """What is transparent counts as white, whatever colour hides there."""
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    image.save(tmp_path / "veiled.png")
    export_tasks(system.directory, ["one"], "torch", tmp_path / "out")
    assert run_example(tmp_path / "out", tmp_path / "veiled.png") == [
        system.predict("one", [tmp_path / "veiled.png"])[0].label
    ]
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert "transparency on white" in facts["preprocessing"]["decode"]


def test_safetensors_have_timms_names_and_shapes(tmp_path, pictures, small):
    """Those that timm itself gives a network of these arguments, as it was once recorded."""
    case = json.loads((Path(__file__).parent / "timm_shapes.json").read_text())["cases"][0]
    root = "vit:dim=16,depth=2,heads=2,patch=4,image=8"
    with System.create(tmp_path / "system", root=root, seed=5) as system:
        system.add_task("one", pictures(tmp_path / "one"))
        system.evolve("one", agent="finetune", children=1, **small)
        export_tasks(system.directory, ["one"], "safetensors", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architecture"] == "vit_base_patch16_224"
    assert config["model_args"] == case["model_args"]
    assert config["pretrained_cfg"]["label_names"] == ["blue", "green", "red"]
    assert (config["num_classes"], config["pretrained_cfg"]["crop_mode"]) == (3, "squash")
    found = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert {name: list(tensor.shape) for name, tensor in found.items()} == case["shapes"]
    assert 'timm.create_model(f"local-dir:{folder}"' in (tmp_path / "out" / "example.py").read_text()
    mean, std = (tuple(config["pretrained_cfg"][name]) for name in ("mean", "std"))
    backbone, components = components_of_checkpoint(found, Settings(heads=2, mean=mean, std=std), "the export")
    assert backbone.anatomy.depth == 2
    assert len(components) == 5


def test_a_path_that_timm_does_not_know_keeps_the_names_of_its_slots(system, tmp_path, small):
    system.add_task("adapted", Path(system.task("one").source))
    system.evolve("adapted", agent="adapters:8", children=1, **small)
    adapters = [slot.slot for slot in system.path("adapted").slots if slot.slot.startswith("adapter")]
    assert len(adapters) == 2
    export_tasks(system.directory, ["adapted"], "safetensors", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["format"], config["not_for_timm_because"]) == ("mu2net slots", "it has adapters")
    found = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert f"{adapters[0]}.down.weight" in found
    assert not (tmp_path / "out" / "example.py").exists()


def test_a_hub_folder_has_a_model_card(system, picture, tmp_path):
    exported = export_tasks(system.directory, ["two"], "hf", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    task = system.task("two")
    assert card.startswith("---\nlibrary_name: timm\npipeline_tag: image-classification\n")
    assert f"| top-1 accuracy, test split | {100 * task.test:.2f} % of 24 images |" in card
    for fact in (task.path_id, "`blue`, `green`, `red`", "timm.create_model", system.path("two").slots[0].digest[:16]):
        assert fact in card
    influence = system.provenance("two").influence
    assert ("on those of `one`" in card) == ("one" in influence)
    assert {"README.md", "config.json", "example.py", "facts.json", "labels.json", "model.safetensors"} == set(
        exported.files
    )
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert facts["influence"] == sorted(influence)
    assert facts["data_fingerprint"] == system._store.task("two").fingerprint


@pytest.mark.parametrize("name", ["hf", "onnx"])
def test_a_convolutional_root(tmp_path, pictures, small, picture, name):
    """As a hub folder it has weights and a program: two formats at once. 64 pixels reach all taps of most kernels."""
    options = {**small, "attention": "auto", "hparams": {**small["hparams"], "ds_image_size": 64}}
    with System.create(tmp_path / "conv", root="efficientnet-lite0", image_size=64) as system:
        system.add_task("one", pictures(tmp_path / "one"))
        system.evolve("one", agent="linear", children=1, **options)
        label = system.predict("one", [picture])[0].label
        exported = export_tasks(system.directory, ["one"], name, tmp_path / name)
        assert exported.difference < 1e-4
        assert run_example(tmp_path / name, picture)[-1] == label
    if name == "onnx":
        return
    assert {"model.safetensors", "model.pt2"} <= set(exported.files)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["not_for_timm_because"] == "its root is efficientnet-lite0, no vision transformer"
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "library_name: pytorch" in card


def test_without_its_images_a_task_is_compared_on_its_probe(system, tmp_path):
    shutil.rmtree(system.directory / "cache", ignore_errors=True)
    source = Path(system.task("one").source)
    moved = source.rename(source.with_name("elsewhere"))
    try:
        exported = export_tasks(system.directory, ["one"], "torch", tmp_path / "out")
    finally:
        moved.rename(source)
    assert exported.images == 16
    assert "compared on those of its probe alone" in exported.notes[0]


def test_what_would_answer_otherwise_is_refused(system, tmp_path, monkeypatch):
    """And nothing is left behind."""
    original = formats.PortableNetwork.forward

    def wrong(self, *images):
        return tuple(logits + torch.tensor([0.0, 2e-3, 0.0]) for logits in original(self, *images))

    monkeypatch.setattr(formats.PortableNetwork, "forward", wrong)
    for name in ("torch", "safetensors", "onnx"):
        with pytest.raises(
            ExportError, match=r"task 'one' would answer otherwise: \d+ of 64 labels .*nothing was written"
        ):
            export_tasks(system.directory, ["one"], name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_labels_and_logits_are_compared(system):
    from mu2net.export.portable import load_task_model
    from mu2net.nn.roots import backbone_from_config

    store = system._store
    model = load_task_model(store, backbone_from_config(store.config.backbone), "one")
    expected = np.array([[1.0, 0.0, 3.0]] * 16, np.float32)
    close = expected.copy()
    close[3, 0] += 2e-4  # at most 1e-4 times 3
    found = compare.check_agreement(
        "it", lambda images: close[: len(images)] if len(images) > 3 else expected[: len(images)], model, expected
    )
    assert found.images == 16
    for bad in (np.full_like(expected, np.nan), expected[:, :2]):
        with pytest.raises(ExportError, match="gives no usable logits"):
            compare.check_agreement("it", lambda images, bad=bad: bad[: len(images)], model, expected)


def test_bad_requests(system, tmp_path):
    def refused(error, match, names=("one",), kind="torch", out="out"):
        with pytest.raises(error, match=match):
            export_tasks(system.directory, list(names), kind, tmp_path / out)

    refused(UnknownNameError, "did you mean 'onnx'", kind="onn")
    refused(UnknownNameError, "did you mean 'one'", names=["onee"])
    refused(ConfigError, "format 'torch' takes one task, found 2: one, two", names=["one", "two"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    refused(ConfigError, "is there already; name a new folder", out="full")
    (tmp_path / "file").touch()
    refused(ConfigError, "is there already; name a new folder", out="file")
    (tmp_path / "empty").mkdir()
    assert export_tasks(system.directory, ["one"], "safetensors", tmp_path / "empty").tasks == ("one",)
    digest = system.path("one").slots[-1].digest
    file = system.directory / "components" / "sha256" / digest[:2] / f"{digest}.safetensors"
    file.chmod(0o644)
    file.write_bytes(b"damaged")
    refused(ComponentError, digest)


def test_tasks_that_were_never_evolved(tmp_path, pictures):
    with System.create(tmp_path / "system", root="vit:dim=16,depth=2,heads=2,patch=4,image=8") as system:
        system.add_task("one", pictures(tmp_path / "one"))
        with pytest.raises(ConfigError, match="task 'one' has no path yet; run: mu2net evolve one"):
            export_tasks(system.directory, ["one"], "torch", tmp_path / "out")
        with pytest.raises(ConfigError, match="no task that is not private has a path yet"):
            export_tasks(system.directory, ["*"], "onnx", tmp_path / "out")
