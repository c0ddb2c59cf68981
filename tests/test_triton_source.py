"""Generated kernels as text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from evonas.kernels.export.copy_definitions import top_level_definitions
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.printing.value_writer import Body
from evonas.kernels.triton.dialect import TRITON
from evonas.kernels.triton.kernel_parts import ARGUMENTS
from evonas.kernels.triton.module import import_from_cache, source_of
from evonas.language.zoo import zoo
from tests.strategies import OF_PLANES, seeded_graphs

GOLDEN = Path(__file__).parent / "golden"
DIVISION = {"span", "R", "BLOCK", "LANES", "DEEP"}


@pytest.mark.parametrize("name", ["evonorm-s0", "bn-relu"])
def test_kernels_read_as_they_should(name: str) -> None:
    assert source_of(plan_of(zoo[name])) == (GOLDEN / f"kernels_{name}.txt").read_text()


def test_every_kernel_is_python_that_uses_what_it_defines() -> None:
    running = {
        f"running_{kind}{n}_ptr" for kind in ("mean", "var", "square") for n in ("", *(f"_{i}" for i in range(9)))
    }
    builtin = {"tl", "triton", "range", *TRITON.reserved, *ARGUMENTS, *running, *DIVISION}
    for label, graph in seeded_graphs(60, OF_PLANES):
        for training in (True, False):
            tree = ast.parse(source_of(plan_of(graph, training)))
            for kernel in (n for n in tree.body if isinstance(n, ast.FunctionDef)):
                names = [n for n in ast.walk(kernel) if isinstance(n, ast.Name)]
                stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
                used = {n.id for n in names if isinstance(n.ctx, ast.Load)}
                assert used <= stored | builtin, f"{label}, {kernel.name}: {used - stored - builtin}"
                assert not stored & {*TRITON.reserved, *ARGUMENTS}, f"{label}, {kernel.name}: a variable hides a helper"
                arguments = {a.arg for a in kernel.args.args}
                assert arguments <= used | {"R", "BLOCK", "DEEP"}, f"{label}, {kernel.name}: unused"


def test_no_variable_may_have_the_name_of_a_helper() -> None:
    assert set(TRITON.reserved) == set(top_level_definitions("triton/helpers.py"))
    assert "tanh" in TRITON.reserved
    body = Body(plan_of(zoo["dyt"]), TRITON)
    assert [body.fresh(name) for name in ("share", "ratio", "ratio")] == ["share_1", "ratio", "ratio_2"]


def test_a_file_in_the_cache_that_was_changed_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    text = "value = 1\n"
    module = import_from_cache(text)
    assert module.__file__ is not None and Path(module.__file__).read_text() == text
    Path(module.__file__).write_text("value = 2\n")
    monkeypatch.delitem(__import__("sys").modules, module.__name__)
    again = import_from_cache(text)
    assert again.value == 1 and Path(again.__file__ or "").read_text() == text
    assert import_from_cache(text) is again
    assert [p.suffix for p in tmp_path.rglob("*") if p.is_file()] in ([".py"], [".py", ".pyc"], [".pyc", ".py"])
