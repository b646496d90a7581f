import pytest
import torch

from mu2net.errors import RootError
from mu2net.nn.timm_format import Settings, components_of_checkpoint, settings_from_config

AUGREG = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 21843,
    "num_features": 192,
    "global_pool": "token",
    "pretrained_cfg": {
        "tag": "augreg_in21k",
        "custom_load": True,
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 21843,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    },
}


@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"dim": 384, "heads": 6, "patch_size": 5, "image_size": 20, "mlp_dim": 100, "depth": 1},
        {"layer_scale": True},
        {"qkv_bias": False},
        {"depth": 12, "mlp_dim": 8},
    ],
)
def test_the_geometry_is_read_from_the_tensors(checkpoint, geometry):
    network, state = checkpoint(**geometry)
    backbone, components = components_of_checkpoint(state, Settings(mean=(0.5,) * 3, std=(0.5,) * 3), "x")
    assert backbone == network.backbone
    assert [slot for slot, _ in components] == [slot for slot, _ in network.components[:-1]]
    for (_, found), (_, expected) in zip(components, network.components, strict=False):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(checkpoint, dtype):
    _, state = checkpoint()
    _, components = components_of_checkpoint({name: t.to(dtype) for name, t in state.items()}, Settings(), "x")
    assert all(t.dtype == torch.float32 and t.is_contiguous() for _, tensors in components for t in tensors.values())


def test_classifiers_are_left_out(checkpoint):
    _, state = checkpoint()
    extra = {"pre_logits.fc.weight": torch.zeros(192, 192), "head.weight": torch.zeros(21843, 192)}
    _, components = components_of_checkpoint({**state, **extra}, Settings(), "x")
    assert "head" not in {slot.kind for slot, _ in components}


def test_a_class_token_without_position_gets_one_of_zeros(checkpoint):
    network, state = checkpoint()
    state["pos_embed"][:, 0] = 0
    without = {**state, "pos_embed": state["pos_embed"][:, 1:]}
    backbone, components = components_of_checkpoint(without, Settings(mean=(0.5,) * 3, std=(0.5,) * 3), "x")
    assert backbone == network.backbone
    assert torch.equal(components[1][1]["pos_embed"], state["pos_embed"])


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("reg_token", "register tokens"),
        ("dist_token", "distillation"),
        ("norm_pre.weight", "norm before the blocks"),
        ("fc_norm.weight", "average pooling"),
        ("attn_pool.latent", "attention pooling"),
        ("blocks.0.attn.q_norm.weight", "queries and keys"),
        ("blocks.0.mlp.w12.weight", "gated MLP"),
        ("rel_pos.relative_position_bias_table", "relative position"),
        ("blocks.1.attn.rel_pos_h", "relative position"),
        ("blocks.0.odd", "block 0 is not a plain ViT block"),
        ("stem.weight", "'stem.weight' is not part of a plain timm ViT"),
        ("blocks.7.norm1.weight", "without a gap"),
    ],
)
def test_other_networks_are_named(checkpoint, name, meaning):
    _, state = checkpoint()
    with pytest.raises(RootError, match=f"^a root: .*{meaning}"):
        components_of_checkpoint({**state, name: torch.zeros(1)}, Settings(), "a root")


@pytest.mark.parametrize(
    "name", ["cls_token", "pos_embed", "patch_embed.proj.bias", "norm.weight", "blocks.1.mlp.fc2.bias"]
)
def test_a_missing_tensor_is_named(checkpoint, name):
    _, state = checkpoint()
    del state[name]
    with pytest.raises(RootError, match=name.removeprefix("blocks.1.")):
        components_of_checkpoint(state, Settings(), "a root")


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("pos_embed", torch.zeros(1, 12, 192), "12 positions are not a square grid"),
        ("pos_embed", torch.zeros(17, 192), "expected .1, positions, width"),
        ("pos_embed", torch.zeros(1, 17, 96), "'pos_embed' has shape"),
        ("patch_embed.proj.weight", torch.zeros(192, 1, 4, 4), "expected .width, 3, side, side"),
        ("patch_embed.proj.weight", torch.zeros(192, 48), "expected .width, 3, side, side"),
        ("blocks.0.mlp.fc2.weight", torch.zeros(192, 32), "gated MLP"),
        ("blocks.1.attn.qkv.weight", torch.zeros(576, 96), "slot 'block_01'"),
        ("blocks.0.mlp.fc1.weight", torch.zeros(64), "not a matrix"),
        ("norm.bias", torch.full((192,), torch.nan), "not finite"),
        ("norm.bias", torch.zeros(192, dtype=torch.int8), "has type torch.int8"),
    ],
)
def test_wrong_tensors_are_named(checkpoint, name, tensor, message):
    _, state = checkpoint()
    with pytest.raises(RootError, match=message):
        components_of_checkpoint({**state, name: tensor}, Settings(), "a root")


def test_transformers_names_are_not_ours():
    with pytest.raises(RootError, match="expected the names of a plain timm ViT"):
        components_of_checkpoint({"vit.embeddings.cls_token": torch.zeros(1, 1, 8)}, Settings(), "a root")


def test_heads_follow_from_common_widths_only(checkpoint):
    for dim, heads in ((192, 3), (384, 6), (768, 12)):
        _, state = checkpoint(dim=dim, heads=1, depth=1)
        assert components_of_checkpoint(state, Settings(), "x")[0].heads == heads
    _, state = checkpoint(dim=96, heads=1)
    with pytest.raises(RootError, match=r"does not follow from width 96; name it, as in '\?heads=6'"):
        components_of_checkpoint(state, Settings(), "x")
    assert components_of_checkpoint(state, Settings(heads=4), "x")[0].heads == 4


def test_a_timm_configuration_gives_the_normalisation():
    settings = settings_from_config(AUGREG, "x")
    assert settings == Settings(heads=None, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert settings.normalisation.mean == settings.normalisation.std == (127.5,) * 3


def test_heads_come_from_the_configuration_where_they_are_not_64_wide():
    assert settings_from_config({**AUGREG, "architecture": "vit_huge_patch14_224"}, "x").heads == 16
    assert settings_from_config({**AUGREG, "architecture": "vit_so400m_patch14"}, "x").heads == 16
    assert settings_from_config({**AUGREG, "model_args": {"num_heads": 8}}, "x").heads == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": None}, "config.json is not timm's"),
        ({"pretrained_cfg": None}, "config.json is not timm's"),
        ({"model_args": {"act_layer": "gelu_tanh"}}, "activation 'gelu_tanh' is not supported"),
        ({"architecture": "vit_base_patch32_clip_quickgelu_224"}, "activation 'quick_gelu' is not supported"),
        ({"model_args": {"num_heads": "6"}}, "'num_heads' in config.json is '6'"),
        ({"pretrained_cfg": {"mean": [0.5]}}, "expected three numbers"),
    ],
)
def test_an_unsupported_configuration_is_an_error(changes, message):
    with pytest.raises(RootError, match=f"a root: .*{message}"):
        settings_from_config({**AUGREG, **changes}, "a root")
