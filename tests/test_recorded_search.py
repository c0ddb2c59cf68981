"""What the README quotes of a search is in its record."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_verdict_in_the_readme_is_that_of_the_recorded_search() -> None:
    recorded = json.loads((ROOT / "benchmarks" / "results" / "search_seed_0.json").read_text())
    readme = " ".join((ROOT / "README.md").read_text().split())
    verdict = recorded["verdict"]
    assert verdict["text"] in readme and verdict["layer"]["expression"] in readme
    assert verdict["better"] and not verdict["collapsed"]
    assert (recorded["command"], recorded["seed"], recorded["budget"]) == ("evonas search --budget 5000", 0, 5000)
    # Two rungs of two and four times the search's own steps, of which the verification takes the last.
    assert "trainings have 400 steps" in readme
