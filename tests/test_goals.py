"""What networks are trained for: losses and scores beside independent computations, and networks that say their own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from evonas.errors import UsageError
from evonas.layers.layer_factory import LayerFactory
from evonas.setup.assemble import configure
from evonas.workers.anchors.goals import GOALS, IGNORED, Prediction, goal_of
from evonas.workers.data.splits import Split
from evonas.workers.trial.evaluate import load_data
from evonas.workers.trial.training import Training

NO_LABELS = torch.zeros(3, dtype=torch.int64)


def test_classes_are_told_apart() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [math.inf, 0.0]])
    labels, goal = torch.tensor([0, 0, 0]), GOALS["classes"]
    assert goal.measured(logits, labels).tolist() == [1.0, 0.0, 0.0]  # an infinite logit is wrong
    assert goal.score(0.25) == 0.25
    expected = -(torch.log_softmax(logits[:2], 1)[:, 0]).mean()
    torch.testing.assert_close(goal.loss((logits[:2], "more"), labels[:2]), expected)
    assert goal.chance(Split(torch.zeros(4, 1, 1, 1), torch.tensor([0, 1, 1, 1]))) == 0.75


def test_tokens_are_foretold() -> None:
    torch.manual_seed(0)
    logits, wanted = torch.randn(2, 3, 5), torch.tensor([[1, IGNORED, 4], [0, IGNORED, 2]])
    goal, output = GOALS["tokens"], Prediction(logits, wanted)
    shares = torch.softmax(logits.double(), 2)
    nats = [[-math.log(shares[b, t, wanted[b, t]]) for t in (0, 2)] for b in range(2)]
    assert goal.measured(output, NO_LABELS).tolist() == pytest.approx([sum(row) / 2 for row in nats], rel=1e-5)
    assert float(goal.loss(output, NO_LABELS)) == pytest.approx(sum(map(sum, nats)) / 4, rel=1e-5)
    assert goal.score(math.log(4)) == pytest.approx(0.25) and goal.score(math.inf) == 0.0
    broken = Prediction(torch.full_like(logits, math.nan), wanted)
    assert goal.measured(broken, NO_LABELS).tolist() == [math.inf] * 2
    # Of four tokens that are equally frequent a quarter is right by chance.
    assert goal.chance(Split(torch.tensor([[[[7, 8, 9, 3]]]], dtype=torch.uint8), torch.zeros(1))) == pytest.approx(
        0.25
    )


def test_noise_is_found() -> None:
    goal, noise = GOALS["noise"], torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    output = Prediction(noise + torch.tensor([0.5, 0.0]).view(2, 1, 1, 1), noise)
    assert goal.measured(output, NO_LABELS).tolist() == pytest.approx([0.25, 0.0])
    assert float(goal.loss(output, NO_LABELS)) == pytest.approx(0.125)
    assert goal.score(0.25) == 0.75 and goal.score(3.0) == 0.0 == goal.score(math.inf)
    assert goal.measured(Prediction(noise * math.nan, noise), NO_LABELS).tolist() == [math.inf] * 2


def test_a_pair_of_tensors_is_enough() -> None:
    found, wanted = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64)
    assert float(GOALS["tokens"].loss((found, wanted), NO_LABELS)) == pytest.approx(math.log(4))
    for goal in ("tokens", "noise"):
        with pytest.raises(UsageError, match="returns what it found and what it should have"):
            GOALS[goal].loss(found, NO_LABELS)


OWN = """
from torch import nn

class Bigram(nn.Module):
    reads, goal, causal = "text", "tokens", True

    def __init__(self, layer, *, in_channels, classes):
        super().__init__()
        self.table, self.norm, self.out = nn.Embedding(classes, 8), layer.tokens(8), nn.Linear(8, classes)

    def forward(self, x):
        tokens = x.flatten(1).long()
        return self.out(self.norm(self.table(tokens[:, :-1]))), tokens[:, 1:]
"""


def test_a_user_s_network_can_have_a_goal(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    name = f"{tmp_path / 'own.py'}:Bigram"
    settings = {"anchors": [name], "data": "digits+text", "optimizer": "adamw", "lr": 0.02, "steps": 60}
    protocol = configure("tokens", preset="tokens", protocol=settings).protocol
    training = Training(name, LayerFactory.of("rmsnorm-c"), load_data(protocol), protocol)
    assert training.advance(60) and training.data.kind == "text"
    assert training.accuracy("validation") > training.goal.chance(training.data.validation)
    with pytest.raises(UsageError, match=r"space tokens-b has statistics over positions.*Bigram"):
        configure("tokens-b", preset="tokens", protocol=settings)


def test_a_network_says_its_goal() -> None:
    assert goal_of(nn.Identity()) is GOALS["classes"]
    own = nn.Identity()
    own.goal = "tokens"
    assert goal_of(own) is GOALS["tokens"]
    own.goal = "token"
    with pytest.raises(UsageError, match=r"goal.*'token'.*tokens"):
        goal_of(own)
    own.goal = 3  # type: ignore[assignment]  # on purpose
    with pytest.raises(UsageError, match="classes, tokens, noise"):
        goal_of(own)
