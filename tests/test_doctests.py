"""Every example in a docstring gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

ROOMS = ("edge_runtime", "train", "export", "benchmarks", "mobile_demo")
SCRIPTS = {"mobile_demo.dashboard.app"}  # a Streamlit page draws when it is imported
OPTIONAL = {"benchmarks.cloud.cluster": "ray"}  # outside [all]; its import warns of pydantic's ways
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def modules():
    for room in ROOMS:
        package = importlib.import_module(room)
        yield room
        for found in pkgutil.walk_packages(package.__path__, room + "."):
            if found.name not in SCRIPTS and "._native" not in found.name:
                yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_of_a_module_give_what_they_say(name):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name], reason=f"{OPTIONAL[name]} is not installed")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_examples_at_all():
    found = doctest.DocTestFinder()
    names = [name for name in modules() if name not in OPTIONAL]
    examples = [e for name in names for t in found.find(importlib.import_module(name)) for e in t.examples]
    assert len(examples) >= 30
