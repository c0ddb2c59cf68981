"""What the README, docs/FOUND.md and docs/SCIENCE.md say of whole searches is what was recorded of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.discovery.page import tables
from benchmarks.discovery.testing import LONGER, PUBLISHED
from evonas.language.zoo import zoo
from evonas.setup.assemble import configure

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FOUND: dict[str, Any] = json.loads((RESULTS / "discovery.json").read_text())
DEFAULT = [search for search in FOUND["searches"] if search["variant"] == "default"]
TABLES = tables(FOUND)
PICTURES, TARGET = (json.loads((RESULTS / name).read_text()) for name in ("pictures.json", "pictures_target.json"))
README, FOUND_PAGE, SCIENCE = ((ROOT / name).read_text() for name in ("README.md", "docs/FOUND.md", "docs/SCIENCE.md"))


@pytest.mark.parametrize("name", TABLES)
def test_every_table_of_the_study_is_on_a_page(name: str) -> None:
    assert "\n".join(TABLES[name]) in (FOUND_PAGE if name == "rejections" else SCIENCE)


@pytest.mark.parametrize("name", ["test, crops", "test, target", "unseen, target", "layers, target"])
def test_the_study_of_pictures_is_on_its_page(name: str) -> None:
    assert "\n".join(tables(PICTURES)[name]) in SCIENCE


def test_what_is_said_of_larger_networks() -> None:
    means = {layer: of["mean"] for layer, of in PICTURES["yardsticks"]["target"]["layers"].items()}
    assert max(means, key=lambda layer: means[layer]) == "bn-swish"
    behind = {
        (one["variant"], one["seed"]): {
            other["published"]: -100 * other["difference"] for other in one["tests"]["target"]["test"]
        }
        for one in PICTURES["searches"]
    }
    of_pictures = [found for (variant, _), found in behind.items() if variant == "pictures"]
    assert all(2.35 < found["bn-swish"] < 4.65 and -0.6 < found["bn-relu"] < 2.0 for found in of_pictures)
    of_crops = sorted(found["bn-swish"] for (variant, _), found in behind.items() if variant == "default")
    assert 2.5 < of_crops[0] < 3.5 and of_crops[1] > 9.5 and "one is 3 points behind BN-Swish" in SCIENCE
    verdicts = [one["verdict"] for one in PICTURES["searches"] if one["variant"] == "pictures"]
    assert ["better than all 6 published layers" in verdict for verdict in verdicts] == [True, True, False]
    assert "(+0.6 ± 0.7 points" in verdicts[2] and "not told apart from BN-ReLU (+0.6 ± 0.7)" in SCIENCE.replace(
        "\n", " "
    )
    assert all("2.4 to 4.6" in page for page in (README, FOUND_PAGE, SCIENCE))
    assert PICTURES["yardsticks"]["target"]["seeds"] == 3 and "a rate of 0.1, three seeds" in SCIENCE.replace("\n", " ")


@pytest.mark.parametrize("name", ["searches", "winners", "test, target", "unseen, target", "layers, target"])
def test_the_study_of_a_target_is_on_its_page(name: str) -> None:
    assert "\n".join(tables(TARGET)[name]) in SCIENCE


def test_what_is_said_of_a_target() -> None:
    readme, found, science = (" ".join(page.replace("\n> ", "\n").split()) for page in (README, FOUND_PAGE, SCIENCE))
    for search in TARGET["searches"]:
        assert search["verdict"] in science and "better than all 6 published layers" in search["verdict"]
        assert "better on the unseen network efficientnet-medium" in search["verdict"]
    for name, said in (
        ("bn-relu", "than BN-ReLU by 2.6, 2.0 and 2.3 points"),
        ("bn-swish", "BN-Swish by 1.6, 0.9 and 1.2"),
    ):
        by = [re.search(rf"{name} (?:by |\(\+)([\d.]+) ±", search["verdict"]) for search in TARGET["searches"]]
        first, second, third = (one[1] for one in by if one is not None)
        assert said in readme and f"{first}, {second} and {third}" in said
    on = [{one["published"]: _points(one) for one in s["tests"]["target"]["test"]} for s in TARGET["searches"]]
    assert f"{on[0]['bn-relu']} points ahead of BN-ReLU and {on[0]['bn-swish']} of BN-Swish" in found
    assert f"ahead of BN-ReLU by {on[1]['bn-relu']} and {on[2]['bn-relu']}, and behind BN-Swish by" in found
    behind = " and ".join(one["bn-swish"].removeprefix("-") for one in on[1:])
    assert f"behind BN-Swish by {behind}." in found
    assert "ahead of BN-ReLU by 4.4 points and of BN-Swish by 1.1, the others of BN-ReLU by 1.6 and 1.1" in readme
    assert [one["bn-relu"][:3] for one in on] == ["4.4", "1.6", "1.1"] and on[0]["bn-swish"].startswith("1.1")
    p = next(o["p"] for o in TARGET["searches"][0]["tests"]["target"]["test"] if o["published"] == "bn-swish")
    assert f"1.1 ± 0.8, has p = {p:.3f}" in science
    vgg = [
        o["difference"]
        for s in TARGET["searches"]
        for o in s["tests"]["target"]["unseen"]
        if o["published"] == "bn-relu"
    ]
    assert [round(-100 * d, 1) for d in vgg] == [0.4, 1.1, 2.3] and "0.4 to 2.3 points behind BN-ReLU" in science
    assert TARGET["yardsticks"]["target"]["seeds"] == 5


def test_the_readme_quotes_a_search_and_says_what_became_of_its_layer() -> None:
    quoted, search_page = DEFAULT[0], (ROOT / "docs" / "SEARCH.md").read_text()
    for page in (README, search_page):
        text = " ".join(page.split())
        assert f"`evonas search --budget 5000 --seed {quoted['seed']}`" in text
        assert " ".join(quoted["verdict"].split()) in text and f"`{quoted['winner']}`" in text
    # The last rung has four times the search's own steps, and the verification takes it.
    assert "its trainings have 400 steps" in " ".join(search_page.split())
    assert "\n".join(TABLES["layers, crops"]) in FOUND_PAGE
    text = " ".join(FOUND_PAGE.split())
    for search in DEFAULT:
        ahead = {one["published"]: _points(one) for one in search["tests"]["crops"]["test"]}
        said = f"that of seed {search['seed']} than BN-ReLU by {ahead['bn-relu']} points and than BN-Swish by"
        assert f"{said} {ahead['bn-swish']}" in text
        assert all(one["p"] < 0.01 and one["difference"] > 0.0 for one in search["tests"]["crops"]["test"])
        assert all(one["difference"] > 0.0 for one in search["tests"]["crops"]["unseen"])
    assert "All five are better than all six published layers" in text and len(DEFAULT) == 5
    proposals = sum(search["rejections"][0]["judged"] for search in DEFAULT)
    assert f"there were {proposals:,} proposals" in text and "discovery_default_crops.svg" in README


def _points(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{100 * one['difference']:.1f} ± {50 * (high - low):.1f}"


def test_the_study_is_of_the_default_as_it_is() -> None:
    config, by = configure(), FOUND["yardsticks"]["crops"]
    assert by["steps"] == LONGER * config.on_rung(len(config.rungs)).steps
    assert by["anchors"] == list(config.protocol.anchors) and by["seeds"] == 10
    for search in DEFAULT:
        assert search["budget"] == config.budget and search["core_minutes"] >= (config.core_minutes or 0.0)
        assert [one["published"] for one in search["tests"]["crops"]["test"]] == list(PUBLISHED)


def test_the_page_says_what_random_search_came_to() -> None:
    document = json.loads((RESULTS / "random.json").read_text())
    evolved, drawn = document["searches"]
    assert (evolved["variant"], drawn["variant"]) == ("default", "random") and evolved["seed"] == drawn["seed"] == 0
    assert drawn["core_minutes"] == pytest.approx(evolved["core_minutes"], rel=0.01)
    page = (ROOT / "docs" / "SCIENCE.md").read_text()
    assert "\n".join(tables(document)["searches"]) in page
    text = " ".join(page.split())
    asked = [one["rejections"][0]["judged"] for one in (drawn, evolved)]
    assert f"Random search drew {asked[0]:,} graphs, where evolution drew {asked[1]:,}" in text
    found = [one["best_new"] for one in (drawn, evolved)]
    assert f"`{found[0]['layer']}`, has {found[0]['score']:.3f} after {found[0]['steps']} steps" in text
    assert f"evolution's best has {found[1]['score']:.3f}" in text
    assert f"came as far as a worker and {found[0]['scored']} were scored" in text
    assert f"{drawn['judged']:,} of them" in text and found[0]["trained"] == 1
    volumes = [one["hypervolume"] for one in (drawn, evolved)]
    assert f"{volumes[0]:.4f} where evolution's is {volumes[1]:.4f}" in text and volumes[0] < volumes[1]
    assert drawn["winner"] == zoo["evonas-1"].canonical.expression() and "evonas-1" in drawn["verdict"]
    (lead,) = evolved["tests"]["crops"]["found"]
    assert f"({100 * lead['difference']:.1f} ± {50 * (lead['interval'][1] - lead['interval'][0]):.1f} points)" in text
