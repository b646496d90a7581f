from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

import mu2net


def test_all_is_complete_and_sorted():
    assert mu2net.__all__ == sorted(mu2net.__all__)
    assert all(hasattr(mu2net, name) for name in mu2net.__all__)
    assert dir(mu2net) == mu2net.__all__


def test_names_are_those_of_the_floors():
    from mu2net.errors import Mu2NetError
    from mu2net.system import System

    assert mu2net.System is System
    assert mu2net.Mu2NetError is Mu2NetError


def test_the_version_is_that_of_the_installation():
    try:
        installed = version("mu2net")
    except PackageNotFoundError:
        pytest.skip("mu2net is not installed here, only on the path")
    assert mu2net.__version__ == installed


def test_other_names_are_errors():
    with pytest.raises(AttributeError, match="'mu2net' has no attribute 'Sistem'"):
        _ = mu2net.Sistem


def test_reading_the_package_does_not_import_torch():
    code = (
        "import sys, mu2net; mu2net.Mu2NetError; dir(mu2net);"
        "assert not {'torch', 'numpy', 'sqlalchemy', 'datasets'} & set(sys.modules), sorted(sys.modules);"
        "mu2net.System; assert 'torch' in sys.modules"
    )
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=100)
