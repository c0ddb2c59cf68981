"""The live display of a search shows what the store holds, and reads it only once."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evonas.display import pace
from evonas.display.live_display import BEST_SHOWN, LiveDisplay, overview
from evonas.front.api import execute
from evonas.judging.floors import TurnedAway
from evonas.records.memory_store import MemoryStore
from evonas.records.results import best
from evonas.records.run_info import RunInfo, RunSummary
from evonas.settings.candidate import Candidate, Evaluation
from tests.fakes import FakeExecutor, config


class Counting(MemoryStore):
    """A store that counts how often its totals are read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def summary(self, run_id: int) -> RunSummary:
        self.asked += 1
        return super().summary(run_id)


class Often(LiveDisplay):
    """Draws at every tick."""

    def tick(self, pending: int) -> None:
        self._shown_at = -1e9
        super().tick(pending)


def shown(console: Console, renderable: Any) -> str:
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def searched(store: MemoryStore, run: RunInfo, console: Console) -> LiveDisplay:
    with Often(run, store, console) as display:
        execute(run, store, FakeExecutor(3), [display], references=("bn-relu", "gn-relu"))
    return display


def test_it_shows_what_the_store_holds_and_reads_it_once() -> None:
    store = Counting()
    run = store.create_run(config(budget=60), {})
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=60)
    display = searched(store, run, console)
    assert display._live is not None
    assert store.asked == 2  # by the search as it begins, and by the display
    drawn = shown(console, display._display())
    held, summary = store.run(run.id), store.summary(run.id)
    footer = f"0 in flight; Ctrl-C stops, `evonas resume {run.id}` continues"
    assert drawn == shown(console, overview(held, summary, best(store, run.id, BEST_SHOWN), display._bar, footer))
    for word in ("60/60", "quality", "bn-relu", "gn-relu"):
        assert word in drawn


def test_a_published_layer_that_would_be_turned_away_is_said_with_and_without_a_terminal() -> None:
    store = MemoryStore()
    run = store.create_run(config(budget=3), {})
    fell = TurnedAway("gn-relu", "early-20", "at chance", 0.05, 0.1, "protocol.early_floors")
    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
        with LiveDisplay(run, store, console) as display:
            display.turned_away(fell)
        assert isinstance(console.file, io.StringIO)
        assert str(fell) in console.file.getvalue()  # on one line, whatever the width


def test_without_a_terminal_its_lines_are_short_and_rejections_come_last() -> None:
    store = MemoryStore()
    run = store.create_run(config(budget=30, rungs=(2,)), {})
    console = Console(file=io.StringIO(), width=60)
    display = searched(store, run, console)
    assert isinstance(console.file, io.StringIO)
    summary, said = store.summary(run.id), console.file.getvalue()
    progress, _, rejected = said.partition("rejected: ")
    fell = {**summary.discarded, **{name: one.rejected for name, one in summary.filters.items()}}
    assert " ".join(rejected.split()) == ", ".join(f"{name} {count:,}" for name, count in fell.items() if count)
    assert summary.filters["quality"].rejected > 0 and "rejected" not in progress
    lines = [line for line in progress.splitlines() if " judged" in line]
    assert lines[0] == "0 of 30 judged" and max(map(len, progress.splitlines())) <= 80
    assert lines[-1] == f"30 of 30 judged, {display._longer} trained longer, best mean {display.best[0].mean:.3f}"
    assert len(lines) < 5, "a search of a moment tells how it begins and ends"
    assert f"\n    {display.best[0].expression}\n" in progress, "the best layer has a line of its own"


@given(st.lists(st.tuples(st.floats(0.1, 30.0), st.integers(0, 3)), min_size=1, max_size=60))
def test_lines_tell_news_at_growing_intervals(moments: list[tuple[float, int]]) -> None:
    now, state, told = 0.0, 0, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "monotonic", lambda: now)
        lines = pace.Pace()
        for wait, news in moments:
            now, state = now + wait, state + news
            if lines.due(state):
                told.append((now, state))
        assert lines.due(state + 1, at_once=True) and not lines.due(state + 1, at_once=True)
    assert told[0] == (moments[0][0], moments[0][1])
    waits = [later - sooner for (sooner, _), (later, _) in pairwise(told)]
    expected = [min(60.0, 10.0 * 1.5**place) for place in range(len(waits))]
    assert all(wait >= least for wait, least in zip(waits, expected, strict=True))
    assert all(one < other for (_, one), (_, other) in pairwise(told)), "nothing is told twice"
    assert not moments[-1][1] or now - told[-1][0] < 60.0, "news are kept for less than a minute"


def test_a_resumed_run_starts_from_what_is_there() -> None:
    store = MemoryStore()
    run = store.create_run(config(budget=30), {})
    execute(run, store, FakeExecutor(3), references=())
    display = LiveDisplay(store.run(run.id), store, Console(file=io.StringIO()))
    seen: list[tuple[Candidate, Evaluation]] = list(store.best(run.id, 1))
    assert display.judged == 30 and display.best[0].mean == seen[0][1].mean
