"""A training loop of the user's own in the place of anchors and data."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import evonas
from evonas.errors import UsageError
from evonas.evolution.executor import Task
from evonas.judging.hurdles import Checkpoint, checkpoints
from evonas.language.zoo import zoo
from evonas.layers.layer_factory import LayerFactory
from evonas.settings import plugins
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import OWN_SCORE, EvaluationProtocol
from evonas.settings.run_config import RunConfig
from evonas.setup.assemble import chance_level, configure, note_on_noise, open_storage
from evonas.workers.executors.local_executor import LocalExecutor
from evonas.workers.trial.evaluate import load_data
from tests.test_plugins import EXAMPLES, cli, forgotten  # noqa: F401  a fixture

SEARCH = {"budget": 6, "executor": "local", "references": ("bn-relu",), "seed_graphs": ["bn-relu", "evonorm-s0"]}


def configured(folder: Path, body: str, call: str = "layer, seed, report", **settings: object) -> RunConfig:
    """A configuration with a loop of this body, whose file has been loaded."""
    file = folder / "mine.py"
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    file.write_text(f"import torch\n\ndef mine({call}):\n{lines}")
    return configure(protocol={"score": f"{file}:mine", **settings})


def judged(config: RunConfig, filtered: bool = True, **changes: object) -> Evaluation:
    with LocalExecutor(load_data(config.protocol)) as executor:
        task = Task(3, 1, zoo["bn-relu"].to_json(), config.protocol, filtered=filtered, **changes)  # type: ignore[arg-type]
        executor.submit(task)
        (evaluation,) = executor.poll(0.0)
    return evaluation


def test_the_loop_scores_the_layer_with_a_seeded_generator(tmp_path: Path) -> None:
    body = "torch.manual_seed(seed)\nwanted = torch.rand(())\nreport(1, 0.5)\nreturn abs(float(wanted))"
    config = configured(tmp_path, body)
    state = torch.get_rng_state()
    one = judged(config)
    assert torch.equal(torch.get_rng_state(), state)
    assert one.status is Status.SCORED and one.scores == judged(config).scores and not one.filters
    unseeded = configured(tmp_path, "return float(torch.rand(()))")
    assert judged(unseeded).scores == one.scores  # the generator has that seed already
    assert judged(configured(tmp_path, "return layer.norm_act(8).weight.numel() / 16")).scores == {OWN_SCORE: 0.5}


def test_it_is_given_what_it_takes_by_name(tmp_path: Path) -> None:
    body = 'return steps / 1e4 + lr / 1e2 + {"validation": 1, "held-out": 2, "test": 3}[split]'
    config = configured(tmp_path, body, "layer, seed, report, *, steps, lr, split", steps=50, lr=0.3)
    assert judged(config).scores[OWN_SCORE] == pytest.approx(1.008)
    assert judged(config, held_out=0.2).scores[OWN_SCORE] == pytest.approx(2.008)
    assert judged(config, split="test").scores[OWN_SCORE] == pytest.approx(3.008)
    every = configured(tmp_path, "return len(rest)", "layer, seed, report, **rest")
    assert judged(every).scores == {OWN_SCORE: 3.0}
    rung = config.on_rung(1)
    assert (rung.steps, rung.lr, rung.anchors) == (100, pytest.approx(0.45), (OWN_SCORE,))


def test_hurdles_see_what_it_reports_and_end_it(tmp_path: Path) -> None:
    body = """
for step in range(0, 100, 7):
    try:
        report(step, step / 100)
    except Exception:
        raise RuntimeError("nothing may catch the end") from None
    reached.append(step)
return 0.9
"""
    config = configured(tmp_path, f"global reached\nreached = []\n{body.strip()}", hurdle_steps=(20, 60))
    first, second = checkpoints(config.protocol)
    assert (first, second) == (Checkpoint(OWN_SCORE, 20), Checkpoint(OWN_SCORE, 60))
    through = judged(config)
    assert [(one.name, one.value) for one in through.filters] == [("hurdle score 20", 0.21), ("hurdle score 60", 0.63)]
    stopped = judged(config, floors={second.name: 0.7})
    assert stopped.status is Status.REJECTED and stopped.stopped_by == second.name and not stopped.scores
    assert judged(config, filtered=False, floors={second.name: 0.7}).status is Status.SCORED
    diverged = judged(configured(tmp_path, "report(20, float('inf'))\nreturn 1.0", hurdle_steps=(20,)))
    assert (diverged.stopped_by, diverged.filters[0].reason) == (first.name, "training diverged")


def test_a_loop_that_swallows_its_end_has_no_score(tmp_path: Path) -> None:
    body = """
for step in (1, 2, 3):
    try:
        report(step, 0.1)
    except BaseException:
        pass
return 0.9
"""
    config = configured(tmp_path, body.strip(), hurdle_steps=(1, 2))
    first, second = checkpoints(config.protocol)
    found = judged(config, floors={first.name: 0.5, second.name: 0.0})
    assert found.status is Status.REJECTED and not found.scores
    assert [(one.name, one.accepted) for one in found.filters] == [(first.name, False)]


def test_every_generator_is_seeded_and_nothing_of_a_loop_stays(tmp_path: Path) -> None:
    body = """
import random, numpy
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
return random.random() + float(numpy.random.rand()) + float(torch.rand(()))
"""
    config = configured(tmp_path, body.strip())
    states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, other = judged(config), judged(config)
    assert one.scores == other.scores
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # noqa: NPY002
    assert torch.get_default_dtype() is torch.float32 and torch.is_grad_enabled()


def test_a_rate_that_it_does_not_take_is_not_told(tmp_path: Path) -> None:
    assert configured(tmp_path, "return 1").rung_rates == ()
    assert configured(tmp_path, "return 1", "layer, seed, report, lr").rung_rates == (1.5, 1.0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("'good'", "returned 'good' as score, which is not a number"),
        ("None", "returned None as score"),
        ("{'dice': 1.0}", "returned a mapping without 'score'"),
        ("-0.5", "returned a score of -0.5: scores are 0 or above"),
        ("1 / 0", "mine.py, line 4: ZeroDivisionError: division by zero"),
        ("report(1, 'x')", "report takes a step and a value, two numbers"),
    ],
)
def test_what_it_may_not_return_fails_with_a_reason(tmp_path: Path, answer: str, reason: str) -> None:
    found = judged(configured(tmp_path, f"return {answer}"))
    assert found.status is Status.FAILED and reason in found.reason


@pytest.mark.parametrize("answer", ["float('nan')", "float('inf')", "0", "{'score': torch.tensor(float('nan'))}"])
def test_a_training_that_diverged_has_nothing(tmp_path: Path, answer: str) -> None:
    found = judged(configured(tmp_path, f"return {answer}"))
    assert (found.status, found.scores, found.reason) == (Status.SCORED, {OWN_SCORE: 0.0}, "diverged on score")


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is called with \(layer, seed, report\).*it takes \(layer\)"):
        configured(tmp_path, "return 1", "layer")
    with pytest.raises(UsageError, match="brings its own networks and data: leave out anchors, or score"):
        configured(tmp_path, "return 1", anchors=("vgg-small",))
    for name, value in {"data": "digits", "floors": "published", "signal": True, "image_size": 32, "pad": 2}.items():
        with pytest.raises(UsageError, match=f"leave out {name}, or score"):
            configured(tmp_path, "return 1", **{name: value})
    configured(tmp_path, "return 1", floors="absolute", signal=False)  # as it is anyway
    file = tmp_path / "mine.py"
    file.write_text("class mine:\n    def __call__(self, layer, seed, report):\n        return 1\n")
    with pytest.raises(UsageError, match=r"is not a valid score: it must be a function \(layer, seed, report\)"):
        configure(protocol={"score": f"{file}:mine"})
    with pytest.raises(UsageError, match="the objective step-time is measured on an anchor"):
        configured(tmp_path, "return 1", objectives=("anchors", "step-time"))
    with pytest.raises(UsageError, match="the only anchor of a training loop of your own is 'score'"):
        EvaluationProtocol(anchors=("score",))
    protocol = configured(tmp_path, "return 1").protocol
    assert chance_level(protocol) == 0.0 and note_on_noise(protocol) == "" and protocol.data == "none"


def test_a_search_by_the_example_is_verified_resumed_and_reranked(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop.py").write_text((EXAMPLES / "segmentation.py").read_text())
    words = ["search", "--budget", "6", "--steps", "3", "--score", "loop.py:score", "--executor", "local"]
    words += ["--seed-graph", "bn-relu", "--seed-graph", "evonorm-s0", "--objective", "anchors"]
    words += ["--objective", "loop.py:step_time", "--set", "verify_seeds=2", "--set", "finalists=2"]
    words += ["--set", "protocol.hurdle_steps=[2]", "--set", "rung_lookahead=2"]
    code, out, err = cli(monkeypatch, capsys, *words, "-f", "json")
    assert code == 0, err
    found = json.loads(out)
    assert "validation images" not in err and found["verdict"]["missing"] == 0 and found["verdict"]["unseen"] is None
    (row, *_) = found["best"]
    assert set(row["scores"]) == {OWN_SCORE} and row["measures"]["loop.py:step_time"] > 0.0
    for command in (["best"], ["pareto"], ["show", "best"], ["report", "-o", "report.html"]):
        plugins._loaded.clear()
        code, _, err = cli(monkeypatch, capsys, *command)
        assert code == 0, err
    plugins._loaded.clear()
    code, out, err = cli(
        monkeypatch, capsys, "rerank", "--top", "1", "--seeds", "2", "--steps", "4", "--executor", "local", "-f", "json"
    )
    assert code == 0, err
    code, out, err = cli(monkeypatch, capsys, "config", "1")
    Path("again.toml").write_text(out)
    again = configure(preset="again.toml").protocol
    with open_storage("evonas.db", read_only=True) as store:
        assert again == store.run(1).config.protocol


def test_without_split_there_is_no_verdict_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = str(configured(tmp_path, "return 0.5 + seed / 1e9").protocol.score)
    result = evonas.search(score=name, storage=tmp_path / "evonas.db", **SEARCH)
    assert result.summary.candidates == 6 and result.verdict is None
    assert "cannot be verified" in caplog.text and "takes no `split`" in caplog.text
    assert evonas.resume(1, storage=tmp_path / "evonas.db", executor="local", verify=False).summary.candidates == 6


def test_a_search_that_scores_nothing_says_what_to_mend(tmp_path: Path) -> None:
    for body, said in {
        "raise ValueError('no data')": r"ValueError: no data.*Mend .*mine, and start a new run",
        "report(1, float('nan'))\nreturn 1": "Most fell to the filter hurdle score 1.*reports what is not finite",
    }.items():
        name = configured(tmp_path, body).protocol.score
        found = evonas.search(score=name, protocol={"hurdle_steps": (1,)}, verify=False, **SEARCH)
        assert re.search(said, str(found), re.DOTALL), str(found)


def test_the_plain_loop_of_the_examples_learns() -> None:
    config = configure(protocol={"score": f"{EXAMPLES}/loop.py:score"})
    assert judged(config).scores[OWN_SCORE] > 0.7


def test_swap_takes_a_factory() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8, eps=1e-3), torch.nn.ReLU())
    report = evonas.swap(model, LayerFactory.of("evonorm-s0"))
    assert len(report.replaced) == 1 and model[1].graph == zoo["evonorm-s0"] and model[1].eps == 1e-5  # type: ignore[union-attr]
