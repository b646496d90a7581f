import torch

from mu2net.nn.assign import assign
from mu2net.nn.vit_slots import Head, LayerScale, Tokens


def test_the_class_token_comes_first_and_positions_are_added():
    tensors = {"cls_token": torch.full((1, 1, 2), 5.0), "pos_embed": torch.arange(6.0).reshape(1, 3, 2)}
    tokens = assign(Tokens(3, 2), tensors, "tokens")(torch.ones(4, 2, 2))
    assert tokens.shape == (4, 3, 2)
    assert tokens[0].tolist() == [[5, 6], [3, 4], [5, 6]]


def test_tokens_are_float32_also_after_a_bfloat16_projection():
    tensors = {"cls_token": torch.zeros(1, 1, 2), "pos_embed": torch.zeros(1, 3, 2)}
    assert assign(Tokens(3, 2), tensors, "tokens")(torch.ones(4, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_layer_scale_multiplies_channels():
    module = assign(LayerScale(2), {"gamma": torch.tensor([2.0, 3.0])}, "scale")
    assert module(torch.ones(1, 1, 2)).tolist() == [[[2, 3]]]


def test_a_head_reads_features_or_the_class_token():
    tensors = {"weight": torch.eye(2), "bias": torch.tensor([1.0, 0.0])}
    tokens = torch.tensor([[[3.0, 4.0], [9.0, 9.0]]])
    assert assign(Head(2, 2, from_tokens=True), tensors, "head")(tokens).tolist() == [[4, 4]]
    assert assign(Head(2, 2, from_tokens=False), tensors, "head")(tokens[:, 0]).tolist() == [[4, 4]]
