"""The report in a real browser: its script runs to the end, and nothing is wider than a narrow screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.report_page import synthetic
from evonas.records.memory_store import MemoryStore
from evonas.report.page import page
from evonas.report.report_data import read_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]

_LOOKS = """<script>
const seen = {errors: []};
addEventListener("error", event => { seen.errors.push(event.message); });
addEventListener("load", () => {
  const box = document.querySelector("[data-chart=front]"), tip = document.querySelector(".tooltip");
  seen.scroll = document.documentElement.scrollWidth;
  seen.inner = innerWidth;
  seen.drawn = document.documentElement.dataset.drawn;
  seen.charts = [...document.querySelectorAll(".chart > svg")].map(svg => svg.parentElement.dataset.chart);
  if (box) {
    const at = box.getBoundingClientRect();
    for (let x = 0; x < at.width && tip.hidden; x += 5)
      for (let y = 0; y < at.height && tip.hidden; y += 5)
        box.dispatchEvent(new PointerEvent("pointermove", {clientX: at.left + x, clientY: at.top + y}));
    seen.tooltip = tip.textContent;
    const read = () => document.querySelector(".readout").textContent, before = read();
    box.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
    box.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
    seen.moved = read() !== before;
    const chart = document.querySelector("[data-chart=best]"), bounds = chart.getBoundingClientRect();
    seen.names = [...chart.querySelectorAll(".label")].map(label => {
      const {left, right, top, bottom} = label.getBoundingClientRect();
      const {left: x, top: y} = bounds;
      return {name: label.textContent, left: left - x, right: right - x, top: top - y, bottom: bottom - y};
    });
    seen.lines = [...chart.querySelectorAll(".reference")].map(line => +line.getAttribute("y1"));
    seen.width = bounds.width;
    document.querySelector("[data-over=judged]").click();
    seen.label = document.querySelector("[data-chart=best] svg").textContent;
  }
  parent.postMessage(JSON.stringify(seen), "*");
});
</script>"""
# A browser window has a least width; a frame does not.
_FRAME = """<!doctype html><script>
addEventListener("message", event => { document.documentElement.dataset.seen = event.data; });
</script><iframe src="report.html" style="border: 0; width: WIDTHpx; height: 900px"></iframe>"""


def seen(text: str, folder: Path, width: int) -> dict[str, Any]:
    """What the page looks like from inside, once its scripts have run, in a frame of that width."""
    # The script that inspects the page comes first, so that it catches errors.
    (folder / "report.html").write_text(text.replace("<head>", "<head>" + _LOOKS, 1))
    frame = folder / "frame.html"
    frame.write_text(_FRAME.replace("WIDTH", str(width)))
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"]
    command += ["--virtual-time-budget=5000", "--dump-dom", frame.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
    (found,) = re.findall(r'data-seen="([^"]*)"', dom)
    return cast("dict[str, Any]", json.loads(html.unescape(found)))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("candidates", [60, 5000])
def test_the_page_draws_itself(tmp_path: Path, width: int, candidates: int) -> None:
    store = MemoryStore()
    rungs = (2, 4) if candidates < 1000 else ()  # what they promise takes a while to compute
    found = seen(page(read_report(store, synthetic(store, candidates, rungs=rungs))), tmp_path, width)
    assert found["errors"] == []
    assert int(found["drawn"]) > 0
    assert sorted(found["charts"]) == ["best", "front", "hypervolume", *["response"] * 5, *["rungs" for _ in rungs[:1]]]
    assert found["inner"] == width
    assert found["scroll"] <= width  # nothing sticks out
    assert "layer 1/" in found["tooltip"] and "mean" in found["tooltip"]
    assert found["moved"]
    assert "candidates judged" in found["label"]
    names, lines = found["names"], found["lines"]
    assert {one["name"] for one in names} == {"bn-relu", "evonorm-s0", "gn-relu", "evonorm-b0"}
    for one, line in zip(names, lines, strict=True):
        assert one["top"] - 4 <= line <= one["bottom"] + 8, "a name stands at its line"
        assert one["left"] >= 0 and one["right"] <= found["width"] + 12
    for one, other in combinations(names, 2):
        apart = one["right"] <= other["left"] or other["right"] <= one["left"]
        assert apart or abs(one["top"] - other["top"]) >= 10, "no name covers another"


def test_a_page_without_a_scored_layer_runs_too(tmp_path: Path) -> None:
    store = MemoryStore()
    found = seen(page(read_report(store, synthetic(store, 5, scored=0.0))), tmp_path, 800)
    assert found["errors"] == [] and found["charts"] == []
    assert int(found["drawn"]) > 0
