"""What files of users' own imported before evonas was divided into packages can still be imported."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from evonas.layers.norm_act import NormAct
from evonas.moved_modules import MOVED, RENAMED

ROOT = Path(__file__).parent.parent

FORMER = """
from evonas.candidate import Accept, Reject, Kind
from evonas.graph import FIRST
from evonas.layer import LayerFactory, NormAct
from evonas.objectives import Objective
from evonas.protocol import Protocol
from evonas.space import SearchSpace
from evonas.workers.dataset import DataSet, from_splits
from evonas.workers.splits import Split
from evonas.workers.trial import Trial
import evonas
assert evonas.NormAct is NormAct and evonas.EvaluationProtocol is Protocol and evonas.SearchSpace is SearchSpace
"""


@pytest.mark.parametrize("former", sorted(MOVED))
def test_a_former_module_is_that_of_today(former: str) -> None:
    today = importlib.import_module(MOVED[former])
    spec = today.__spec__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sys.modules.pop(former, None)
        found = importlib.import_module(former)
    assert found is today and today.__spec__ is spec
    assert [str(one.message) for one in caught if issubclass(one.category, DeprecationWarning)] == [
        f"{former} is now {MOVED[former]}"
    ]
    for name, place in RENAMED.get(former, {}).items():
        module, _, what = place.partition(":")
        assert getattr(found, name) is getattr(importlib.import_module(module), what)


def test_what_examples_imported_before() -> None:
    """In a process of its own, in which nothing was imported before."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORMER]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_pickle_of_before_names_classes_by_their_former_modules() -> None:
    written = pickle.dumps(NormAct("evonorm-s0", 4), protocol=0)
    former = written.replace(b"evonas.layers.norm_act", b"evonas.layer").replace(
        b"evonas.language.graph", b"evonas.graph"
    )
    assert former != written
    with pytest.warns(DeprecationWarning, match="evonas.layer is now evonas.layers.norm_act"):
        sys.modules.pop("evonas.layer", None)
        found = pickle.loads(former)
    assert isinstance(found, NormAct) and found.graph == NormAct("evonorm-s0", 4).graph
