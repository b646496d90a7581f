"""Nothing that is read from a file can run code: no pickle, no marshal, no eval, no shell.

Worker processes talk to the process that started them through a private pipe of ``multiprocessing``, not through files.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mu2net

MODULES = sorted(Path(mu2net.__file__).parent.rglob("*.py"))
FORBIDDEN_IMPORTS = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "code",
    "runpy",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "__import__", "yaml.load", "torch.jit.load"}


def findings(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in names if name.partition(".")[0] in FORBIDDEN_IMPORTS)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called in FORBIDDEN_CALLS or options.get("shell", "False") != "False":
                yield called
            if called == "torch.load" and options.get("weights_only") != "True":
                yield called
            if called in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False":
                yield called


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_a_module_runs_nothing_that_it_reads(module):
    assert list(findings(module.read_text())) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import a, dill.source",
        "def f():\n    import marshal",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_check_finds(text):
    assert len(list(findings(text))) == 1


def test_the_check_looks_at_everything():
    assert len(MODULES) > 100
    assert list(findings("torch.load(a, weights_only=True)\nnp.load(a)\nmodel.eval()\nimport picklers")) == []
