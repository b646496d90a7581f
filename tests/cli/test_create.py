from __future__ import annotations

import json
from pathlib import Path

from mu2net.errors import ConfigError, SourceError


def test_init_creates_a_system_and_says_what_is_next(run, fake):
    url = "postgresql+psycopg://me@host/name"
    result = run("init", "--system", "./s", "--root", "vit:dim=32", "--image-size", 64, "--seed", 3, "--registry", url)
    assert result.exit_code == 0
    expected = {"directory": Path("s"), "root": "vit:dim=32", "image_size": 64, "seed": 3, "registry_url": url}
    assert fake.calls[0] == ("create", expected)
    assert "3.40 M parameters" in result.stdout
    assert "mu2net add NAME SOURCE --system s" in result.stdout


def test_init_has_defaults(run, fake, tmp_path):
    result = run("init", env={"MU2NET_SYSTEM": "by-environment"})
    assert result.exit_code == 0
    expected = {"root": "efficientnet-lite0", "image_size": None, "seed": 0, "registry_url": None}
    expected["directory"] = Path("by-environment")
    assert fake.calls[0] == ("create", expected)


def test_init_as_json(run, fake):
    result = run("init", "--system", "s", "--json")
    assert json.loads(result.stdout) == {
        "directory": "somewhere",
        "root": "efficientnet-lite0",
        "num_root_params": 3_400_000,
        "seed": 7,
    }


def test_init_over_a_system_is_an_error(run, fake):
    fake.errors["create"] = ConfigError("there is a system in 'mu2net-system' already")
    result = run("init")
    assert result.exit_code == 2
    assert "already" in result.stderr


def test_add_passes_everything_on(run, fake):
    result = run(
        *("add", "pets", "/data/pets", "--private", "--val", "v", "--test", "t", "--image-column", "i"),
        *("--label-column", "l", "--group-column", "g", "--skip-bad-images"),
        *("--allow-from", "flowers, cars", "--deny-from", "faces"),
    )
    assert result.exit_code == 0
    assert fake.calls[1] == (
        "add_task",
        {
            "name": "pets",
            "source": "/data/pets",
            "validation": "v",
            "test": "t",
            "image_column": "i",
            "label_column": "l",
            "group_column": "g",
            "is_private": True,
            "allow_from": ("flowers", "cars"),
            "deny_from": ("faces",),
            "skip_bad_images": True,
        },
    )
    assert "Added private task pets: 2 classes; 900 training, 50 validation, 50 test images" in result.stdout
    assert "Next: mu2net evolve pets\n" in result.stdout


def test_add_as_json(run, fake):
    result = run("add", "pets", "folder", "--json")
    answer = json.loads(result.stdout)
    assert (answer["name"], answer["classes"], answer["num_train"]) == ("pets", ["cat", "dog"], 900)
    assert "decoding images" in result.stderr


def test_add_of_an_empty_folder_is_an_error(run, fake):
    fake.errors["add_task"] = SourceError("folder 'x' is empty; expected class folders")
    result = run("add", "pets", "x")
    assert result.exit_code == 2
    assert "error: folder 'x' is empty; expected class folders" in result.stderr
