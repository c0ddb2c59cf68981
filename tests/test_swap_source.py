"""Activations that `swap` removes from the source of a forward."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import evonas
from tests.usual_models import conv3


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3(3, 4), conv3(4, 4)
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.relu = nn.ReLU()


class OptionalShortcut(Two):
    """As timm's DLA: a shared ReLU in a forward with optional arguments."""

    def forward(self, x: Tensor, shortcut: Tensor | None = None, twice: bool = False) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        if shortcut is None:
            shortcut = y
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(y - shortcut) * (2 if twice else 1)


class Nested(Two):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))) + 1


class Forms(Two):
    """A call over several lines, a keyword, a method, umlauts before it."""

    def forward(self, x: Tensor) -> Tensor:
        ä = "größer", x
        y = F.relu(
            # the first
            input=self.bn1(
                self.conv1(ä[1]),
            ),
            inplace=False,
        )
        return {"ü": self.bn2(self.conv2(y)).relu()}["ü"]


class Private(Two):
    def __init__(self) -> None:
        super().__init__()
        self.__act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.__act(self.bn2(self.conv2(self.__act(self.bn1(self.conv1(x)))))) + self.__act(x).sum()


class Base(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(x) * 2


class Super(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self._second(torch.relu(self.bn1(super().forward(x))))
        return y + super().forward(x)

    def _second(self, y: Tensor) -> Tensor:
        return torch.relu(self.bn2(self.conv2(y)))


class Loop(Two):
    def forward(self, x: Tensor) -> Tensor:
        for conv, bn in ((self.conv1, self.bn1), (self.conv2, self.bn2)):
            x = F.relu(bn(conv(x)))
        return x


class LoopWithShortcut(Two):
    """As in timm's DLA: a loop whose offsets differ from those of the source that is compiled again."""

    def forward(self, x: Tensor, shortcut: Tensor | None = None, children: list[Tensor] | None = None) -> Tensor:
        if shortcut is None:
            shortcut = x.mean(1, keepdim=True)
        parts = []
        for i, (conv, bn) in enumerate(zip([self.conv1, self.conv1], [self.bn1, self.bn1], strict=True)):
            y = x if i == 0 else x + shortcut
            parts.append(F.relu(bn(conv(y))))
        y = self.conv2(parts[0] + parts[1])
        return F.relu(self.bn2(y)) + shortcut


def with_closure() -> nn.Module:
    factor, act = 3.0, F.relu

    class Closure(Two):
        def forward(self, x: Tensor) -> Tensor:
            y = act(self.bn1(self.conv1(x * factor)))
            with torch.enable_grad():
                return act(self.bn2(self.conv2(y)))

    return Closure()


MADE: dict[str, Any] = {
    kind.__name__: kind for kind in (OptionalShortcut, Nested, Forms, Private, Super, Loop, LoopWithShortcut)
}
MADE["Closure"] = with_closure


def _same(changed: nn.Module, before: nn.Module, **arguments: Any) -> None:
    changed, before = copy.deepcopy(changed), copy.deepcopy(before)
    for seed, training in enumerate((True, True, False)):
        x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
        changed.train(training), before.train(training)
        # Float32 over two layers of 144 values a channel.
        torch.testing.assert_close(changed(x, **arguments), before(x, **arguments), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MADE)
def test_activations_are_removed_and_the_function_stays(name: str) -> None:
    torch.manual_seed(0)
    model = MADE[name]()
    changed = copy.deepcopy(model)
    report = evonas.swap(changed, "bn-relu")
    assert [row.name for row in report.replaced] == ["bn1", "bn2"] and all(row.certain for row in report.norms)
    assert list(report.rewritten) == [""]
    assert "relu" not in inspect.getsource(type(changed).forward).replace("self.relu(y - shortcut)", "")
    _same(changed, model)
    if name != "Closure":
        _same(pickle.loads(pickle.dumps(changed)), model)
    assert isinstance(changed, type(model)) and type(changed).__name__ == type(model).__name__


def test_optional_arguments_stay() -> None:
    model = OptionalShortcut()
    changed = copy.deepcopy(model)
    evonas.swap(changed, "bn-relu")
    shortcut = torch.randn(4, 4, 6, 6)
    for arguments in ({"shortcut": shortcut}, {"twice": True}, {"shortcut": shortcut, "twice": True}):
        _same(changed, model, **arguments)
    assert inspect.signature(changed.forward) == inspect.signature(model.forward)


def test_what_the_forward_reads_stays_a_variable() -> None:
    class Reads(Two):
        def __init__(self) -> None:
            super().__init__()
            self.scale = 1.0

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.bn1(self.conv1(x))) * self.scale

    model = Reads()
    evonas.swap(model, "evonorm-s0", include="bn1")
    x = torch.randn(2, 3, 6, 6)
    before, model.scale = model(x), 2.0
    assert torch.equal(model(x), 2 * before)


def test_a_place_that_keeps_one_of_its_values_is_unrolled() -> None:
    """A loop whose second normalisation stays: its one line cannot do both, so the graph of the forward does."""
    model = Loop()
    changed = copy.deepcopy(model)
    assert [row.name for row in evonas.swap(changed, "bn-relu", exclude="bn2").replaced] == ["bn1"]
    _same(changed, model)


def test_a_second_swap_goes_on_from_the_first() -> None:
    model = Super()
    changed = copy.deepcopy(model)
    evonas.swap(changed, "bn-relu", include="bn1")
    _same(changed, model)
    assert [row.name for row in evonas.swap(changed, "bn-relu").replaced] == ["bn2"]
    _same(changed, model)


def test_a_source_that_has_changed_since_is_not_used(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "changing_model.py"
    parts = ["import torch\nfrom torch import Tensor, nn", *map(inspect.getsource, (conv3, Two, OptionalShortcut))]
    text = "\n\n".join(parts)
    path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("changing_model")
    path.write_text(text.replace("y - shortcut", "y + shortcut"))
    report = evonas.swap(module.OptionalShortcut(), "bn-relu")
    assert not report.replaced and "optional arguments" in report.kept[0].reason


def test_a_changed_forward_can_be_scripted() -> None:
    class Plain(Two):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))

    model = Plain().eval()
    changed = copy.deepcopy(model)
    evonas.swap(changed, "bn-relu", linear="keep", backend="reference")
    kept = copy.deepcopy(changed)
    for name in ("bn1", "bn2"):  # the layers themselves are another matter
        setattr(kept, name, nn.ReLU())
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(kept), buffer)
    buffer.seek(0)
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(torch.jit.load(buffer)(x), kept(x))
