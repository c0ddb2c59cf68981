"""The table of other people's models: how true pairs are found, and what is said of a model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models import judging
from benchmarks.models.__main__ import read, said
from benchmarks.models.judging import Outcome, judge
from benchmarks.models.model_list import ModelRow, rows
from benchmarks.models.page import table
from benchmarks.models.truth import pairs
from benchmarks.models.without_operators import _nms

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "models.json"
PAGE = ROOT / "docs" / "MODELS.md"


class Block(nn.Module):
    """What models do with a normalisation: pairs of several kinds, and what only looks like one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.plain, self.in_place, self.method, self.swish = (nn.BatchNorm2d(8) for _ in range(4))
        self.dropped, self.added, self.gated, self.twice, self.last = (nn.BatchNorm2d(8) for _ in range(5))
        self.grouped, self.shared, self.sixth = nn.GroupNorm(4, 8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = F.relu(self.plain(x))
        x = F.relu(self.in_place(x), inplace=True)
        x = self.method(x).relu_()
        y = self.swish(x)
        x = y * torch.sigmoid(y)
        x = F.gelu(F.dropout(self.dropped(x), 0.0))
        x = F.relu(self.added(x) + x)
        x = torch.sigmoid(self.gated(x)) * x
        y = self.twice(x)
        x = F.relu(y) + y
        x = F.silu(self.grouped(x))
        x = F.relu(self.shared(x))
        x = F.relu6(self.sixth(x))
        return self.last(self.shared(x))


class Odd(nn.Module):
    """A pair that `swap` cannot see, because the forward cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return F.relu(y) if x.sum() == x.sum() else y


def row(model: nn.Module, name: str = "mine") -> ModelRow:
    return ModelRow("library", name, lambda: model, (2, 3, 8, 8))


def test_the_true_pairs_are_what_a_person_would_name() -> None:
    batch = "batch_norm"
    found = pairs(Block(), torch.randn(2, 3, 8, 8))
    assert {name: pair for name, pair in found.items() if pair is not None} == {
        "plain": (batch, "relu"),
        "in_place": (batch, "relu"),
        "method": (batch, "relu"),
        "swish": (batch, "silu"),
        "dropped": (batch, "gelu"),
        "grouped": ("group_norm", "silu"),
        "sixth": (batch, "relu6"),
    }
    assert {name for name, pair in found.items() if pair is None} == {"added", "gated", "twice", "shared", "last"}


def test_hooks_are_taken_off_again() -> None:
    model = Block()
    pairs(model, torch.randn(2, 3, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_is_judged() -> None:
    found = judge(row(Block()))
    assert not found.error and found.norms == 12 and found.expected == 7 and not found.wrong
    assert (
        found.found == 6
        and found.missed[0].startswith("swish: ")
        and found.same
        and found.difference is not None
        and found.trains
    )
    assert found.difference < 1e-12


def test_what_is_missed_is_named_with_the_reason() -> None:
    found = judge(row(Odd()))
    assert (found.expected, found.found) == (1, 0) and found.missed[0].startswith("norm: ")
    assert "missed norm: " in said(found)


def test_a_wrong_replacement_and_another_value_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "pairs", lambda model, x: {"plain": ("batch_norm", "relu"), "in_place": None})
    assert "in_place" in judge(row(Block())).wrong
    monkeypatch.undo()
    swap = judging.evonas.swap

    def worse(model: nn.Module, layer: str, **options: object) -> object:
        return swap(model, "bn-swish" if layer == "bn-relu" else layer, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(judging.evonas, "swap", worse)
    assert judge(row(Block())).same is False


def test_what_a_library_raises_is_the_outcome() -> None:
    def broken() -> nn.Module:
        raise ValueError("no such model\nand more")

    found = judge(ModelRow("library", "broken", broken))
    assert found.error == "ValueError: no such model" and "no such model" in said(found)


def test_rows_are_read_as_they_were_written_and_half_lines_are_left_out(tmp_path: Path) -> None:
    found = [judge(row(Odd())), Outcome("library", "broken", error="x")]
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(asdict(one)) for one in found]
    file.write_text("\n".join(lines) + "\n" + lines[0][:30])
    assert read(file) == found and read(tmp_path / "none") == []


def test_the_list_has_models_of_seven_libraries_each_once() -> None:
    found = [(one.library, one.name) for one in rows()]
    assert len(found) >= 80 and len(set(found)) == len(found) and len({library for library, _ in found}) == 7


def test_boxes_that_overlap_a_better_one_are_left_out() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 0, 10, 5.0]])
    assert _nms(boxes, torch.tensor([0.5, 0.9, 0.1, 0.7]), 0.5).tolist() == [1, 3, 2]
    assert _nms(boxes[:0], torch.tensor([]), 0.5).tolist() == []


def test_the_page_has_the_table_that_was_measured() -> None:
    recorded = json.loads(RESULTS.read_text())
    found = [Outcome(**one | {key: tuple(one[key]) for key in ("wrong", "missed")}) for one in recorded["models"]]
    assert "\n".join(table(found)) in PAGE.read_text()
    judged = [one for one in found if not one.error]
    assert len(judged) >= 80 and not any(one.wrong for one in judged)
    assert not any(one.same is False for one in judged) and all(one.trains for one in judged)
    pairs, replaced = sum(one.expected for one in judged), sum(one.found for one in judged)
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"In {len(judged)} models of timm, torchvision" in readme
    assert f"finds {replaced:,} of {pairs:,} pairs and replaces nothing else" in readme
