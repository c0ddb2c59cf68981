"""Numbers in docs/FIRST_STUDY.md, the baseline in docs/COMPARE.md and speeds in docs/SPEED.md are recorded as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from benchmarks.science import pictures
from benchmarks.science.page import LABELS, tables
from benchmarks.science.runs import VARIANTS

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SCIENCE: dict[str, Any] = json.loads((RESULTS / "science.json").read_text())
RERANKED: dict[str, Any] = json.loads((RESULTS / "rerank.json").read_text())
BASELINE: list[dict[str, Any]] = json.loads((RESULTS / "baseline.json").read_text())
TABLES = tables(SCIENCE, RERANKED)
PAGE = (ROOT / "docs" / "FIRST_STUDY.md").read_text().replace("**", "")
PROSE = " ".join(PAGE.split())


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_json(name: str) -> None:
    assert "\n".join(TABLES[name]) in PAGE


def test_three_seeds_of_each_variant_were_run() -> None:
    assert set(SCIENCE["strategies"]) == {variant.label for variant in VARIANTS} == set(LABELS)
    for label in LABELS:
        runs = [run for run in SCIENCE["runs"] if run["label"] == label]
        assert [run["seed"] for run in runs] == [0, 1, 2]
        for run in runs:
            curves = run["over_time"]
            assert len(curves["hypervolume"]) == len(curves["best"]) == len(curves["minutes"]) > 50
            assert curves["hypervolume"] == sorted(curves["hypervolume"]) and curves["best"] == sorted(curves["best"])
            assert curves["minutes"][-1] == SCIENCE["core_minutes"] == 10.0
        for name in ("best", "top_10", "anchor_spread"):
            assert SCIENCE["strategies"][label][name]["values"] == [run[name] for run in runs]


def test_each_mended_run_beats_each_random_run_with_the_same_filters() -> None:
    mended, random = (
        [run for run in SCIENCE["runs"] if run["label"] == label] for label in ("mended", "random, mended")
    )
    for name in ("best", "top_10"):
        assert min(run[name] for run in mended) > max(run[name] for run in random)
    volumes = [[run["over_time"]["hypervolume"][-1] for run in runs] for runs in (mended, random)]
    assert min(volumes[0]) > max(volumes[1])


def statements() -> list[str]:
    """The statements of the page outside its tables, with every number from the JSON."""
    census, noise, agree = SCIENCE["census"], SCIENCE["census"]["noise"], SCIENCE["anchors"]
    reach = [sum(mean >= least for mean in census["means"]) for least in (0.2, 0.5, 0.7)]
    baseline = {row["layer"]: row["mean"] for row in BASELINE}
    test = {row["layer"]: row for row in SCIENCE["test"]}
    rank = {name.removeprefix("hurdle "): value for name, value in SCIENCE["hurdles"]["agreement"].items()}
    mobile, efficient = ([v for n, v in rank.items() if n.startswith(a)] for a in ("mobilenet", "efficientnet"))
    fragile = "max(x, x / rms_bwh(x))"
    searched = next(r["layers"][0]["mean"] for r in SCIENCE["runs"] if r["layers"][0]["expression"] == fragile)
    resnet, mobilenet, efficientnet = SCIENCE["protocol"]["anchors"]
    pairs = {name: f"{value:.2f}" for name, value in agree["correlation"].items()}
    stages, bred = census["stability"], SCIENCE["repeated"]["inheritance"]
    return [
        f"the median parent scored {bred['median_parent']:.2f}",
        f"{bred['neutral']} of {bred['mutants']} scored mutants are within ±0.02 of their parent, and "
        f"{bred['better']} are better by more; {bred['start_as_an_earlier_one']} of all "
        f"{bred['scored']} scored candidates compute",
        f"repeated for {SCIENCE['repeated']['core_minutes']} core-minutes",
        f"`{fragile}`, scored {searched:.2f} with the seed that searches train with, and "
        f"{test[fragile]['mean']:.2f} ± {test[fragile]['spread']:.2f} with others",
        f"{test['-(x / std_wh(x))']['mean']:.3f} against {test['x / std_wh(x)']['mean']:.3f}",
        f"{census['random']} random candidates",
        f"{reach[0]} learn, that is, reach a mean of 0.2; {reach[1]} reach 0.5, one 0.7. BN-ReLU has "
        f"{baseline['bn-relu']:.2f} on these images",
        f"{noise['layers']} layers that learn on some anchor, trained from a second seed: layers differ by "
        f"{noise['between_layers']:.3f} (standard deviation), two trainings of one layer by "
        f"{noise['within_layer']:.3f}, and the order agrees with a rank correlation of {noise['correlation']:.2f}",
        f"the noise is {noise['stable']['within_layer']:.3f}, of the others {noise['unstable']['within_layer']:.3f}",
        f"Over the {agree['layers']:,} layers that were scored, the rank correlation of accuracies is "
        f"{pairs[f'{resnet} / {mobilenet}']} between ResNet and MobileNet, "
        f"{pairs[f'{mobilenet} / {efficientnet}']} between MobileNet and EfficientNet, "
        f"{pairs[f'{resnet} / {efficientnet}']} between ResNet and EfficientNet",
        f"{stages['random'][0]['of']} random candidates, and {stages['evolved'][0]['of']} of 150 mutants",
        f"those of the {census['filters']['signal']['learning']} learners",
        f"{SCIENCE['hurdles']['layers']} scored layers of six runs",
        f"is {rank[f'{resnet} end']:.2f} at the end of the ResNet, {min(mobile):.2f} to {max(mobile):.2f} along the "
        f"MobileNet, {min(efficient):.2f} to {max(efficient):.2f} along the EfficientNet",
        *_of_the_reranking(),
    ]


def _of_the_reranking() -> list[str]:
    best = RERANKED["layers"][0]["id"]
    on_test = {c["reference"]: c for c in RERANKED["comparisons"] if (c["stage"], c["layer"]) == ("test", best)}
    differences = {}
    for name, comparison in on_test.items():
        low, high = comparison["interval"]
        differences[name] = f"{100 * comparison['difference']:.1f} ± {50 * (high - low):.1f}"
    relu, b0, swish = (on_test[name]["p_corrected"] for name in ("bn-relu", "evonorm-b0", "bn-swish"))
    ranked = [layer["searched"] for layer in RERANKED["layers"]]
    assert ranked.index(max(ranked)) == 3  # the page: the search's winner is fourth
    tenth = RERANKED["layers"][9]
    assert len({text.split("seed ")[1][:4] for text in tenth["held-out"]["failures"]}) == 3
    normalised = ("bn-relu", "bn-swish")
    transfer = [c for c in RERANKED["comparisons"] if c["stage"] == "transfer" and c["reference"] in normalised]
    assert min(c["p_corrected"] for c in transfer) > 0.5
    return [
        f"by {differences['bn-relu']} points and EvoNorm-B0 by as much (paired t-tests, corrected: p = {relu:.3f} and "
        f"{b0:.3f}), and BN-Swish by {differences['bn-swish']} (p = {swish:.3f})",
        f"the tenth, which the search scored {tenth['searched']:.2f}, diverges with three seeds of five",
    ]


@pytest.mark.parametrize("text", statements(), ids=range(len(statements())))
def test_prose_says_what_was_recorded(text: str) -> None:
    assert text in PROSE


def test_every_published_layer_survives_the_whole_ascent() -> None:
    published = SCIENCE["published"]
    assert published["steps"] == 100 and len(published["norms"]) == 13
    assert f"the largest norm of any is {max(published['norms'].values()):.1f}" in PROSE


def test_the_page_has_the_baseline() -> None:
    lines = (ROOT / "docs" / "COMPARE.md").read_text().splitlines()
    baseline = json.loads((RESULTS / "baseline_crops.json").read_text())
    every = [
        f"| {row['layer']} | {row['mean']:.3f} ± {row['spread']:.3f} | "
        + " | ".join(f"{fmean(scores):.3f} ± {stdev(scores):.3f}" for scores in row["scores"].values())
        + " |"
        for row in sorted(baseline, key=lambda row: -row["mean"])
    ]
    shown = [line for line in lines if any(line.startswith(f"| {row['layer']} | 0") for row in baseline)]
    assert shown == every
    for row in (*baseline, *BASELINE):
        assert row["mean"] == pytest.approx(fmean(fmean(scores) for scores in row["scores"].values()))


def test_the_page_says_how_fast_layers_are() -> None:
    measured = json.loads((RESULTS / "layers_cpu.json").read_text())["layers"]
    text = (ROOT / "docs" / "SPEED.md").read_text()
    for name in ("bn-relu", "evonorm-b0", "evonorm-s0"):
        row = measured[name]
        keys = ("over_eager", "over_eager_with_build", "over_compiled")
        assert (
            f"| `{name}` | {' | '.join(f'{row[key]:.1f}' for key in keys)} | {row['over_batchnorm_relu']:.2f} |" in text
        )


def test_pictures_are_drawn_from_the_json_alone(tmp_path: Path) -> None:
    drawn = {path.name for path in pictures.draw(SCIENCE, tmp_path)}
    assert drawn == {path.name for path in RESULTS.glob("science_*.svg")}
    assert all(f"results/{name})" in PAGE for name in drawn)
