"""What the README quotes of a search is in its record."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_verdict_in_the_readme_is_that_of_the_recorded_search() -> None:
    recorded = json.loads((ROOT / "benchmarks" / "results" / "search_seed_1.json").read_text())
    readme = " ".join((ROOT / "README.md").read_text().split())
    verdict = recorded["verdict"]
    assert verdict["text"] in readme and verdict["layer"]["expression"] in readme
    assert verdict["better"] and not verdict["collapsed"]
    assert (recorded["command"], recorded["seed"], recorded["budget"]) == (
        "evonas search --budget 5000 --seed 1",
        1,
        5000,
    )
    # The last rung has four times the search's own steps, and the verification takes it.
    assert "trainings have 400 steps" in readme
    science = " ".join((ROOT / "docs" / "SCIENCE.md").read_text().split())
    assert f"`{verdict['layer']['expression']}` is better than BN-ReLU by 1.2 ± 0.5 points" in science
    assert "by 1.2 ± 0.5 points" in verdict["text"] and len(verdict["better_than"]) == 6
