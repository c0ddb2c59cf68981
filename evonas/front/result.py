"""The result of a search, read from its store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from evonas.errors import UsageError, shorten
from evonas.records import nothing_scored, results
from evonas.reruns.verdict import Verdict, verdict_of
from evonas.reruns.verdict_words import UNVERIFIED

if TYPE_CHECKING:
    from evonas.records.run_info import RunInfo, RunSummary
    from evonas.records.store import Store
    from evonas.report.page import Page


@dataclass(frozen=True)
class Result:
    """What a run has found so far, read from its store.

    Attributes:
        store: the store that holds the run.
        run_id: the run's number.
    """

    store: Store
    run_id: int

    @property
    def run(self) -> RunInfo:
        """The run's configuration, status, and reference scores."""
        return self.store.run(self.run_id)

    @property
    def verdict(self) -> Verdict | None:
        """Whether the best of the verified layers is better than published ones; None if none was verified."""
        return verdict_of(self.store, self.run_id)

    @property
    def summary(self) -> RunSummary:
        """The run's counts and times by filter and anchor."""
        return self.store.summary(self.run_id)

    def best(self, limit: int = 10) -> list[results.ResultRow]:
        """The layers that promise most by all their trainings, best first."""
        return results.best(self.store, self.run_id, limit)

    def pareto(self) -> list[results.ResultRow]:
        """The layers on the Pareto front of the run's objectives."""
        return results.pareto(self.store, self.run_id)

    def to_pandas(self, limit: int = 100) -> Any:
        """The best layers as a DataFrame of pandas, best first.

        Its columns are `id`, `expression`, `name`, `family`, `mean`, one for each anchor, one for each rung of longer
        training, such as `400 steps`, and one for each further objective.

        Args:
            limit: the largest number of layers.

        Raises:
            UsageError: if pandas is not installed.
        """
        try:
            from pandas import DataFrame  # type: ignore[import-untyped]  # it has no types of its own
        except ModuleNotFoundError:
            raise UsageError("pandas is not installed: pip install pandas") from None
        return DataFrame([_flat(row) for row in self.best(limit)])

    def report(self, path: str | Path | None = None, top: int = 5) -> Page:
        """The report as a self-contained HTML page: what `evonas report` writes, and what a notebook shows in a frame.

        Args:
            path: the file to write it to as well, which is replaced; None for none.
            top: how many of the best layers to describe in detail.

        Raises:
            UsageError: if the file cannot be written.
        """
        from evonas.report.page import page
        from evonas.report.report_data import read_report

        text = page(read_report(self.store, self.run_id, top))
        if path is not None:
            try:
                Path(path).write_text(text)
            except OSError as error:
                raise UsageError(f"cannot write {shorten(str(path), 200)}: {error}") from None
        return text

    def _repr_html_(self) -> str:
        """What is verified, the formula of the best layer, and the best layers as a table, as a notebook shows them."""
        from evonas.language.mathml import mathml
        from evonas.notebook import block, code, paragraph, table, wide

        best = self.best()
        rows = [{**_flat(row), **_written(row)} for row in best]
        shown = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "name"]
        cells = [[code(cell) if isinstance(cell := row.get(key), str) else cell for key in shown] for row in rows]
        formula = mathml(best[0].graph) if best else None
        first = [] if formula is None else [wide(formula)]
        return block(paragraph(self._title()), paragraph(self._conclusion()), *first, table(shown, cells))

    def _title(self) -> str:
        return f"run {self.run_id}, {self.run.status.value}: {self.summary.evaluations} candidates judged"

    def _conclusion(self) -> str:
        """Why nothing was scored, or what is verified."""
        return nothing_scored.why_nothing_was_scored(self.store, self.run_id) or str(self.verdict or UNVERIFIED)

    def __str__(self) -> str:
        lines = [self._title()]
        best = self.best(5)
        if best and self.run.config.rungs:
            steps = self.run.config.protocol.steps
            lines.append(f"the best by all their trainings, each with its mean accuracy after {steps} steps alone:")
        lines += [f"  {row.mean:.3f}  {row.id:>8}  {row.expression}" for row in best]
        for name, scores in results.references_as_rows(self.run.references):
            lines.append(f"  {fmean(scores.values()):.3f}            {name}")
        lines += filter(None, [results.short_of_budget(self.run, self.summary)])
        return "\n".join([*lines, self._conclusion()])


def _flat(row: results.ResultRow) -> dict[str, str | float | None]:
    """A row as the columns of a table."""
    about: dict[str, str | float | None] = {
        "id": row.id,
        "expression": row.expression,
        "name": row.name,
        "family": row.family,
        "mean": row.mean,
    }
    longer = {f"{steps} steps": score for steps, score in row.longer.items()}
    return {**about, **row.scores, **longer, **row.measures}


def _written(row: results.ResultRow) -> dict[str, str]:
    """The further objectives of a row, each as it is written."""
    return {one.name: one.written(row.measures[one.name]) for one in row.objectives}
