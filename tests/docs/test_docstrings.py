"""Every example in a docstring of the package runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import nce_bias as nb

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(nb.__path__, "nce_bias.")
    if not module.name.endswith("__main__")
)
#: The core's public objects: an example for each of them is part of the promise.
WITH_EXAMPLES = (nb, nb.Problem, nb.exact, nb.monte_carlo, nb.gradient_bias)


def public():
    lazy = {"data", "plot", "text", "train"}
    return {"nb": nb} | {name: getattr(nb, name) for name in nb.__all__ if name not in lazy}


@pytest.mark.parametrize("name", ["nce_bias", *MODULES])
def test_examples_run(name):
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=options)
    for example in doctest.DocTestFinder().find(module, globs={**public(), **vars(module)}):
        report = []
        runner.run(example, out=report.append)
        assert not report, "".join(report)


def test_there_are_examples():
    for thing in WITH_EXAMPLES:
        assert doctest.DocTestParser().get_examples(thing.__doc__ or ""), thing
