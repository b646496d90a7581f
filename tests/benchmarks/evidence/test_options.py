from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.evidence.options import FIXED, PAGE, REPOSITORY, RESULTS, SETTINGS, parse
from benchmarks.evidence.roots import Root
from mu2net.core.space import mu2net_space
from mu2net.errors import ConfigError
from mu2net.train.augment import Pipeline


def test_the_default_is_the_whole_table_of_one_seed():
    options = parse([])
    assert options.tasks == REPOSITORY / "../shared/bench/diverse10"
    assert [(root.name, root.image_size) for root in options.roots] == [("lite0", 96), ("vit_s", None)]
    assert (options.seeds, options.jobs, options.experiments) == ((0,), 2, ("table",))
    assert (options.condition.seconds, options.condition.examples) == (120.0, None)
    assert options.ledger == RESULTS.with_suffix(".jsonl")
    assert options.page == PAGE
    assert not options.work.is_relative_to(REPOSITORY)


def test_another_output_leaves_the_page_alone(tmp_path):
    options = parse(["--output", str(tmp_path / "small.json"), "--examples", "9"])
    assert options.page is None
    assert (options.condition.seconds, options.condition.examples) == (None, 9)


def test_settings_are_sorted_values():
    options = parse(
        ["--set", "ds_flip_left_right=false", "ds_crop=true", "--set", "opt_lr=0.02", "--fix", "mu", "ds_crop"]
    )
    given = {"ds_crop": True, "ds_flip_left_right": False, "opt_lr": 0.02}
    assert options.condition.hparams == tuple(sorted((SETTINGS | given).items()))
    assert options.condition.fixed == tuple(sorted({*FIXED, "mu"}))


def test_by_default_the_image_pipeline_is_the_same_for_all_and_draws_nothing():
    condition = parse([]).condition
    space = mu2net_space(Root.parse("lite0=efficientnet-lite0@64", Path()).anatomy())
    fixed = space.with_defaults(dict(condition.hparams)).fixing(condition.fixed)
    names = [name for name in fixed if name.startswith("ds_")]
    assert [len(fixed[name].values) for name in names] == [1] * len(names)
    assert Pipeline.from_hparams(fixed.defaults()).is_deterministic


def test_a_file_starts_from_the_folder_and_is_recorded_without_it(tmp_path):
    root = Root.parse("vit_s=file:roots/vit.safetensors@98", tmp_path)
    assert root == Root("vit_s", f"file:{tmp_path}/roots/vit.safetensors", 98)
    assert root.label == "file:vit.safetensors"


def test_a_revision_is_no_size():
    root = Root.parse("hub=hf:timm/vit@main", Path())
    assert (root.spec, root.image_size) == ("hf:timm/vit@main", None)
    assert Root.parse("hub=hf:timm/vit@main@64", Path()) == Root("hub", "hf:timm/vit@main", 64)


@pytest.mark.parametrize("text", ["efficientnet-lite0", "Lite0=efficientnet-lite0", "=x", "lite0="])
def test_a_root_without_a_name_is_refused(text):
    with pytest.raises(ConfigError, match="NAME=SPEC"):
        Root.parse(text, Path())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--time", "soon"], "--time"),
        (["--time", "2m", "--examples", "5"], "not allowed with"),
        (["--set", "opt_lr"], "NAME=VALUE"),
        (["--jobs", "0"], "at least 1"),
        (["--seeds", "-1"], "--seeds"),
        (["--roots", "a=vit:x", "a=vit:y"], "same name"),
        (["--experiment", "magic"], "invalid choice"),
    ],
)
def test_mistakes_end_with_a_message(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
