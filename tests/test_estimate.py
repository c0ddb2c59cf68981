"""What a search says beforehand of the time that trainings take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evonas.setup import estimate as module
from evonas.setup.assemble import configure
from evonas.setup.estimate import Estimate, estimate, note_on_time
from tests.test_plugins import EXAMPLES

SMALL = {"data": "digits", "anchors": ("resnet-small", "mobilenet-small"), "steps": 40}


def told(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], pixels: int = 16, **settings: object) -> str:
    monkeypatch.setattr(module, "estimate", lambda config: Estimate(seconds, pixels))
    return note_on_time(configure(protocol=SMALL, settings=settings))


def test_a_few_steps_are_timed_on_each_anchor() -> None:
    config = configure(protocol=SMALL)
    found = estimate(config)
    assert found is not None and list(found.seconds) == ["resnet-small", "mobilenet-small"] and found.pixels == 12
    # Between a tenth of a millisecond and a second a step, on any machine.
    assert all(0.004 < seconds < 40.0 for seconds in found.seconds.values())
    assert found.candidate == pytest.approx(sum(found.seconds.values()))
    assert "A training of 40 steps takes a core about " in note_on_time(config)


def test_a_target_is_timed_for_as_long_as_the_last_rung_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure(protocol=SMALL, settings={"target_anchors": ["vgg-small"]})
    found = estimate(config)
    assert found is not None and list(found.targets) == ["vgg-small"] and config.rungs[-1] == 4
    assert 4 * 0.004 < found.targets["vgg-small"] < 4 * 40.0
    for seconds, said in (
        (60.0, "about 60 s; "),
        (5000.0, "about 83 minutes, which is longer than the 20 minutes that"),
    ):
        slow = Estimate({"resnet-small": 1.0}, 16, {"vgg-small": seconds})
        monkeypatch.setattr(module, "estimate", lambda config, slow=slow: slow)
        assert f"; one of the last rung, on vgg-small, {said}" in note_on_time(config)
    assert "it may take (--set deadline=2500); 35 core-minutes" in note_on_time(config)


def test_what_workers_do_elsewhere_is_not_guessed() -> None:
    config = configure(protocol={**SMALL, "score": f"{EXAMPLES}/loop.py:score"} | {"data": None, "anchors": None})
    assert estimate(config) is None and note_on_time(config) == ""
    config = configure(protocol=SMALL)
    assert estimate(replace(config, protocol=replace(config.protocol, device="cuda"))) is None


def test_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = {"resnet-small": 1.04, "mobilenet-small": 0.5}
    assert told(monkeypatch, fast) == (
        "A training of 40 steps takes a core about 1.0 s on resnet-small, and 1.5 s on all networks; 35 core-minutes "
        "are enough for 1,363 such candidates at most."
    )
    assert told(monkeypatch, fast, budget=100).endswith(
        "; all 100 candidates take 3 core-minutes at most, without longer trainings."
    )
    slow = {"resnet-small": 400.0, "mobilenet-small": 20.0}
    assert told(monkeypatch, slow, 128, core_minutes=600).endswith(
        "about 7 minutes on resnet-small, and 7 minutes on all networks; 600 core-minutes are enough for 85 such "
        "candidates at most. --set protocol.image_size=32 or --steps 20 makes that shorter."
    )
    assert told(monkeypatch, slow, 16).endswith(" --steps 20 makes that shorter.")


def test_it_says_more_of_larger_images(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "large.npz", x_train=rng.integers(0, 256, (40, 64, 64, 3), np.uint8), y_train=np.arange(40) % 2)
    protocol = {**SMALL, "data": "npz", "data_dir": str(tmp_path / "large.npz"), "anchors": ("mobilenet-small",)}
    large, small = (estimate(configure(protocol={**protocol, "image_size": size})) for size in (64, 16))
    assert large is not None and small is not None and (large.pixels, small.pixels) == (64, 16)
    assert large.candidate > small.candidate  # sixteen times the pixels
