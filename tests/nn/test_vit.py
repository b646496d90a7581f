import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mu2net.core.anatomy import HEAD, Slot, adapter_slot, block_slot
from mu2net.errors import RootError
from mu2net.nn.attention import select_kernel
from mu2net.nn.backbone import Backbone, Normalisation
from mu2net.nn.chain import build_chain
from mu2net.nn.flops import count_flops, count_parameters
from mu2net.nn.vit import NORM, PATCH_EMBED, TOKENS, Vit, resample_positions

HALF = Normalisation((127.5,) * 3, (127.5,) * 3)
GEOMETRIES = [
    {"dim": 48, "depth": 2, "heads": 3, "patch_size": 4, "image_size": 16, "mlp_dim": 96},
    {"dim": 64, "depth": 1, "heads": 1, "patch_size": 8, "image_size": 40, "mlp_dim": 256, "eps": 1e-3},
    {"dim": 36, "depth": 3, "heads": 6, "patch_size": 5, "image_size": 15, "mlp_dim": 50, "qkv_bias": False},
]


def transformers_twin(network):
    """Return transformers.ViTModel with the same weights."""
    from transformers import ViTConfig, ViTModel

    vit = network.backbone
    config = ViTConfig(
        hidden_size=vit.dim,
        num_hidden_layers=vit.depth,
        num_attention_heads=vit.heads,
        intermediate_size=vit.mlp_dim,
        image_size=vit.image_size,
        patch_size=vit.patch_size,
        layer_norm_eps=vit.eps,
        qkv_bias=vit.qkv_bias,
    )
    parts = {slot.name: tensors for slot, tensors in network.components}
    state = {
        "embeddings.cls_token": parts["tokens"]["cls_token"],
        "embeddings.position_embeddings": parts["tokens"]["pos_embed"],
        **{f"embeddings.patch_embeddings.projection.{k[5:]}": t for k, t in parts["patch_embed"].items()},
        **{f"layernorm.{k}": t for k, t in parts["norm"].items()},
    }
    for index in range(vit.depth):
        for name, tensor in parts[f"block_{index:02d}"].items():
            layer, leaf = name.rsplit(".", 1)
            if layer == "attn.qkv":
                for part, third in zip("qkv", tensor.chunk(3), strict=True):
                    state[f"layers.{index}.attention.{part}_proj.{leaf}"] = third
            else:
                theirs = {"attn.proj": "attention.o_proj", "norm1": "layernorm_before", "norm2": "layernorm_after"}
                state[f"layers.{index}.{theirs.get(layer, layer)}.{leaf}"] = tensor
    twin = ViTModel(config, add_pooling_layer=False).eval()
    twin.load_state_dict(state)
    return twin


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
def test_it_computes_what_transformers_computes(make_vit, geometry, kernel):
    network = make_vit(**geometry)
    side = geometry["image_size"]
    batch = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    chain, headless = network.chain(), build_chain(network.backbone, network.components[:-1])
    select_kernel(chain, kernel)
    select_kernel(headless, kernel)
    with torch.no_grad():
        class_token = chain.forward_range(batch, 0, chain.index("head"))
        tokens = headless(batch)
        expected = transformers_twin(network)(batch).last_hidden_state
    assert expected.std() > 0.3
    assert torch.allclose(class_token, expected[:, :1], atol=1e-5, rtol=0)
    assert torch.allclose(tokens, expected, atol=1e-5, rtol=0)


def test_layer_scale_multiplies_the_residual_branches(make_vit, images):
    scaled = make_vit(layer_scale=True)
    folded = []
    for slot, tensors in scaled.components:
        plain = {name: tensor for name, tensor in tensors.items() if not name.startswith("ls")}
        for gamma, layer in (("ls1.gamma", "attn.proj"), ("ls2.gamma", "mlp.fc2")):
            if gamma in tensors:
                plain[f"{layer}.weight"] = tensors[f"{layer}.weight"] * tensors[gamma][:, None]
                plain[f"{layer}.bias"] = tensors[f"{layer}.bias"] * tensors[gamma]
        folded.append((slot, plain))
    assert torch.allclose(scaled.chain()(images), build_chain(scaled.backbone, folded)(images), atol=1e-5)


def test_the_head_reads_the_normalised_class_token_in_float32(make_vit, images):
    network = make_vit()
    chain, head = network.chain(), dict(network.components)[HEAD]
    tokens = chain.forward_range(images, 0, chain.index("head"))
    assert torch.allclose(chain(images), tokens[:, 0] @ head["weight"].T + head["bias"], atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert chain(images).dtype == torch.float32


def test_bfloat16_stays_near_float32(make_vit, images):
    chain = make_vit().chain()
    exact = chain(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = chain(images)
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_channels_last_images_give_the_same_result(make_vit, images):
    chain = make_vit().chain()
    assert torch.allclose(chain(images.contiguous(memory_format=torch.channels_last)), chain(images), atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(dim=st.integers(1, 80), inner=st.sampled_from([8, 16, 32, 64, 128]))
def test_an_adapter_has_exactly_the_published_number_of_parameters(dim, inner):
    backbone = Vit(dim, 2, 1, 4, 16, 32, HALF)
    tensors = backbone.fresh(adapter_slot(1), 0, adapter_dim=inner)
    expected = 2 * dim + (dim * inner + inner) + (inner * dim + dim)
    assert count_parameters(backbone, adapter_slot(1), tensors) == expected


def test_a_fresh_adapter_is_the_identity_and_can_learn(make_vit):
    backbone = make_vit().backbone
    tensors = backbone.fresh(adapter_slot(0), 3, adapter_dim=8)
    assert tensors["down.weight"].std() > 0.01
    assert all(not tensors[name].any() for name in ("down.bias", "up.weight", "up.bias", "norm.bias"))
    module = backbone.module(adapter_slot(0), tensors).requires_grad_(True)
    tokens = torch.randn(2, 5, 48)
    assert torch.equal(module(tokens), tokens)
    module(tokens).square().sum().backward()
    assert module.get_parameter("up.weight").grad.abs().sum() > 0


def test_an_adapter_computes_the_published_formula(make_vit):
    backbone = make_vit().backbone
    tensors = {name: torch.randn_like(t) for name, t in backbone.fresh(adapter_slot(0), 0, adapter_dim=8).items()}
    tokens = torch.randn(2, 5, 48)
    inner = F.layer_norm(tokens, (48,), tensors["norm.weight"], tensors["norm.bias"], backbone.eps)
    inner = F.gelu(inner @ tensors["down.weight"].T + tensors["down.bias"])
    expected = tokens + inner @ tensors["up.weight"].T + tensors["up.bias"]
    assert torch.allclose(backbone.module(adapter_slot(0), tensors)(tokens), expected, atol=1e-5)


@pytest.mark.parametrize("layer_scale", [False, True])
def test_inserting_fresh_parts_does_not_change_the_outputs(make_vit, images, layer_scale):
    network = make_vit(layer_scale=layer_scale)
    backbone, before = network.backbone, network.chain()(images)
    grown = list(network.components)
    grown.insert(2, (adapter_slot(0), backbone.fresh(adapter_slot(0), 1, adapter_dim=16)))
    assert torch.equal(build_chain(backbone, grown)(images), before)
    grown.insert(-2, (block_slot(3), backbone.fresh(block_slot(3), 2)))
    assert [slot.name for slot, _ in grown][-3] == "block_03"
    assert torch.allclose(build_chain(backbone, grown)(images), before, atol=1e-6)


def test_a_fresh_block_learns(make_vit, images):
    network = make_vit()
    slot = block_slot(3)
    grown = [*network.components[:-2], (slot, network.backbone.fresh(slot, 0)), *network.components[-2:]]
    chain = build_chain(network.backbone, grown)
    chain.set_trainable([slot.name])
    chain(images).square().sum().backward()
    for name in ("attn.proj.weight", "mlp.fc2.weight"):
        assert chain.part(slot.name).get_parameter(name).grad.abs().sum() > 0


def test_fresh_parameters_follow_their_seed(make_vit):
    backbone = make_vit().backbone
    first, again, other = (backbone.fresh(block_slot(0), seed)["mlp.fc1.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_fresh_head_is_zero(make_vit):
    head = make_vit().backbone.fresh(HEAD, 0, num_classes=7)
    assert head["weight"].shape == (7, 48)
    assert not head["weight"].any()
    assert not head["bias"].any()


@pytest.mark.parametrize("slot", [HEAD, adapter_slot(0)])
def test_a_fresh_part_of_unknown_size_is_an_error(make_vit, slot):
    with pytest.raises(ValueError, match="needs"):
        make_vit().backbone.fresh(slot, 0)


def test_anatomy(make_vit):
    network = make_vit(depth=4, image_size=16)
    anatomy = network.backbone.anatomy
    assert isinstance(network.backbone, Backbone)
    assert [slot for slot, _ in network.components] == list(anatomy.slots(4))
    assert anatomy.image_sizes == (8, 12, 16, 20, 24, 28, 32)
    assert anatomy.num_params == sum(t.numel() for _, tensors in network.components[:-1] for t in tensors.values())


@settings(deadline=None, max_examples=50)
@given(patch=st.integers(1, 20), grid=st.integers(1, 12))
def test_image_sizes_are_legal_and_hold_the_default(patch, grid):
    anatomy = Vit(8, 1, 1, patch, patch * grid, 8, HALF).anatomy
    assert anatomy.image_size in anatomy.image_sizes
    assert all(size % patch == 0 and size > 0 for size in anatomy.image_sizes)
    assert anatomy.image_sizes[-1] == 2 * anatomy.image_size
    assert list(anatomy.image_sizes) == sorted(set(anatomy.image_sizes))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_flops_of_the_anatomy_are_those_counted(make_vit, geometry):
    network = make_vit(**geometry)
    counted = count_flops(network.backbone, network.components, geometry["image_size"])
    head = 2 * geometry["dim"] * 5
    assert network.backbone.anatomy.flops == counted - head


def test_resampling_keeps_the_class_position_and_resamples_bicubically():
    positions = torch.randn(1, 1 + 9, 6)
    fitted = resample_positions(positions, 5)
    assert fitted.shape == (1, 26, 6)
    assert torch.equal(fitted[:, 0], positions[:, 0])
    grid = positions[0, 1:].T.reshape(1, 6, 3, 3)
    expected = F.interpolate(grid, size=(5, 5), mode="bicubic", align_corners=False)
    assert torch.equal(fitted[0, 1:], expected[0].flatten(1).T)


def test_resampling_a_smooth_embedding_moves_positions_in_proportion():
    ramp = torch.arange(8.0)
    grid = torch.stack((ramp[:, None].expand(8, 8), ramp[None].expand(8, 8)), dim=-1).reshape(1, 64, 2)
    fitted = resample_positions(torch.cat((torch.zeros(1, 1, 2), grid), dim=1), 16)[0, 1:].reshape(16, 16, 2)
    expected = torch.arange(16.0) / 2 - 0.25
    assert torch.allclose(fitted[4:12, 3, 0], expected[4:12], atol=0.06)
    assert torch.allclose(fitted[3, 4:12, 1], expected[4:12], atol=0.06)


def test_resampled_tokens_take_images_of_the_new_size(make_vit):
    network = make_vit()
    components = [
        (slot, network.backbone.resample(slot, tensors, 24) if slot == TOKENS else tensors)
        for slot, tensors in network.components
    ]
    assert build_chain(network.backbone, components)(torch.randn(1, 3, 24, 24)).shape == (1, 5)


def test_resampling_to_the_same_size_copies(make_vit):
    network = make_vit()
    tensors = dict(network.components)[TOKENS]
    same = network.backbone.resample(TOKENS, tensors, 16)
    assert all(torch.equal(same[name], tensors[name]) for name in tensors)
    assert all(same[name].data_ptr() != tensors[name].data_ptr() for name in tensors)


def test_resampling_to_a_broken_size_names_the_legal_ones(make_vit):
    network = make_vit()
    with pytest.raises(RootError, match=r"image size 18 .* patch size 4; the nearest legal sizes are 16 and 20"):
        network.backbone.resample(TOKENS, dict(network.components)[TOKENS], 18)
    with pytest.raises(RootError, match="10 positions; expected a square grid"):
        resample_positions(torch.zeros(1, 11, 6), 4)
    with pytest.raises(ValueError, match="'norm' does not depend"):
        network.backbone.resample(NORM, {}, 16)


def test_images_that_do_not_fit_are_an_error(make_vit):
    chain = make_vit().chain()
    with pytest.raises(ValueError, match="images are 18x18; expected multiples of the patch, 4"):
        chain(torch.zeros(1, 3, 18, 18))
    with pytest.raises(ValueError, match="16 positions; the images have 25 patches"):
        chain(torch.zeros(1, 3, 20, 20))


def test_tensors_of_another_network_are_an_error(make_vit):
    wide = dict(make_vit(dim=96).components)
    backbone = make_vit().backbone
    for slot in (PATCH_EMBED, TOKENS, block_slot(0), NORM, HEAD):
        with pytest.raises(RootError, match=f"slot '{slot.name}' of a vit of width 48"):
            backbone.module(slot, wide[slot])
    with pytest.raises(RootError, match=r"'mlp\.fc1\.weight' is missing"):
        backbone.module(block_slot(0), wide[NORM])
    with pytest.raises(RootError, match="kind 'stem', which a vit does not have"):
        backbone.module(Slot("stem", "stem"), {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "5 heads do not divide the width 48"),
        ({"image_size": 17}, "nearest legal sizes are 16 and 20"),
        ({"depth": 0}, "depth is 0; expected 1 to 1,024"),
    ],
)
def test_numbers_that_do_not_go_together_are_an_error(make_vit, changes, message):
    with pytest.raises(RootError, match=message):
        make_vit(**changes)


def test_the_configuration_is_json_and_makes_an_equal_backbone(make_vit):
    backbone = make_vit(layer_scale=True, qkv_bias=False, eps=1e-5).backbone
    assert Vit.from_config(json.loads(json.dumps(backbone.config()))) == backbone


def test_an_incomplete_configuration_is_an_error(make_vit):
    config = make_vit().backbone.config()
    for broken in ({k: v for k, v in config.items() if k != "dim"}, {**config, "odd": 1}, {"backbone": "vit"}):
        with pytest.raises(RootError, match="configuration"):
            Vit.from_config(broken)
