from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from mu2net import errors
from mu2net.errors import Mu2NetError, UnknownNameError


def test_tree_in_the_docstring_is_the_tree_of_classes():
    tree = inspect.getdoc(errors).split("```")[1].strip().splitlines()
    drawn = {}
    stack = []
    for line in tree:
        name = line.lstrip("│├└─ ").split()[0]
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 4
        del stack[depth:]
        drawn[name] = stack[-1] if stack else "Exception"
        stack.append(name)
    classes = {
        name: value.__base__.__name__
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert drawn == classes


def test_unknown_name_names_the_closest_match():
    error = UnknownNameError("task", "digit", ["pets", "digits"])
    assert str(error) == "unknown task 'digit'; did you mean 'digits'?"
    assert (error.kind, error.name) == ("task", "digit")
    assert isinstance(error, Mu2NetError)


def test_unknown_name_lists_what_is_known_when_nothing_is_close():
    assert str(UnknownNameError("task", "zzz", ["b", "a"])) == "unknown task 'zzz'; known: a, b"


@pytest.mark.parametrize(("count", "ends_with"), [(12, "n11"), (13, "n11, …")])
def test_unknown_name_lists_at_most_twelve(count, ends_with):
    message = str(UnknownNameError("task", "zzz", [f"n{i:02d}" for i in range(count)]))
    assert message.endswith(ends_with)


def test_unknown_name_says_that_there_are_none():
    assert str(UnknownNameError("task", "digits", [])) == "unknown task 'digits'; there are none yet"


@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_unknown_name_crosses_process_borders(duplicate):
    error = duplicate(UnknownNameError("task", "digit", ["digits"]))
    assert str(error) == "unknown task 'digit'; did you mean 'digits'?"
    assert (error.kind, error.name) == ("task", "digit")
