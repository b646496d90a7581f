import pytest

from mu2net.errors import RootError, UnknownNameError
from mu2net.nn.root_options import parse_pairs, random_vit, split_options
from mu2net.nn.timm_format import Settings


def test_options_override_settings():
    rest, settings = split_options("a/b.safetensors?heads=6&mean=0.1,0.2,0.3&std=1,1,1&eps=1e-5", Settings(), "x")
    assert rest == "a/b.safetensors"
    assert settings == Settings(heads=6, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), eps=1e-5)


@pytest.mark.parametrize("text", ["a/b.safetensors", "what?/b.safetensors"])
def test_without_options_nothing_changes(text):
    assert split_options(text, Settings(heads=2), "x") == (text, Settings(heads=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("heads=0", "option 'heads' is '0'; expected a positive integer"),
        ("heads=six", "expected a positive integer"),
        ("eps=nan", "expected a positive number"),
        ("mean=0.5", "expected three numbers"),
        ("std=0.5,0.5,x", "expected three numbers"),
        ("heads=6&heads=6", "'heads' is given twice"),
        ("heads=6&eps", "'eps' is not of the form key=value"),
    ],
)
def test_impossible_options_are_errors(options, message):
    with pytest.raises(RootError, match=f"a root.*{message}"):
        split_options(f"b.safetensors?{options}", Settings(), "a root")


def test_an_unknown_option_names_the_closest():
    with pytest.raises(UnknownNameError, match="unknown option of a root 'head'; did you mean 'heads'"):
        split_options("b.safetensors?head=6", Settings(), "a root")
    with pytest.raises(UnknownNameError, match="did you mean 'depth'"):
        parse_pairs("dpeth=2", ",", ("dim", "depth"), "a root")


def test_a_random_transformer_by_numbers():
    backbone, scale = random_vit("dim=192, depth=3, heads=3, patch=4, image=32", "x")
    assert (backbone.dim, backbone.depth, backbone.heads, backbone.patch_size, backbone.image_size) == (
        192,
        3,
        3,
        4,
        32,
    )
    assert (backbone.mlp_dim, backbone.layer_scale, backbone.eps, scale) == (768, False, 1e-6, None)
    backbone, scale = random_vit("dim=48,depth=1,heads=3,patch=4,image=8,mlp=50,layerscale=1e-3,eps=1e-5", "x")
    assert (backbone.mlp_dim, backbone.layer_scale, backbone.eps, scale) == (50, True, 1e-5, 1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dim=192,depth=3", "heads, patch, image missing"),
        ("", "not of the form key=value"),
        ("dim=192,depth=3,heads=5,patch=4,image=32", "5 heads do not divide"),
        ("dim=192,depth=3,heads=3,patch=4,image=33", "nearest legal sizes are 32 and 36"),
        ("dim=192,depth=3,heads=3,patch=4,image=32,layerscale=-1", "expected a positive number"),
    ],
)
def test_an_incomplete_random_transformer_is_an_error(text, message):
    with pytest.raises(RootError, match=message):
        random_vit(text, "a root")
