"""The examples in docstrings compute what they show."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest
from test_layout import FILES

WITH_EXAMPLES = [
    name
    for name, path in FILES.items()
    if ">>>" in path.read_text() and not name.startswith(("commands", "journey", "verify", "page"))
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_are_right(name: str) -> None:
    module = import_module(f"microgpt.{name}")
    flags = doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
    failures, examples = doctest.testmod(module, optionflags=flags)
    assert examples and not failures
