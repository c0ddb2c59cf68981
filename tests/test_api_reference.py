"""What the reference of the Python API is made from; tests/test_site.py makes it."""

from __future__ import annotations

import inspect
import re

import pytest

import evonas


@pytest.mark.parametrize("name", sorted(evonas.__all__))
def test_what_users_are_promised_is_documented(name: str) -> None:
    found = getattr(evonas, name)
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return  # a value, whose type is
    assert found.__doc__ and len(found.__doc__.split()) > 5
    if inspect.isfunction(found) and inspect.signature(found).parameters:
        for parameter in inspect.signature(found).parameters:
            assert re.search(rf"\b{parameter}\b", found.__doc__), f"{name} says nothing of {parameter}"
