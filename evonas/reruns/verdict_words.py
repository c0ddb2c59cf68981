"""The verdict on a run in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evonas.reruns.ranking import PairedComparison, Ranked
    from evonas.reruns.verdict import Verdict

UNVERIFIED = "No layer of this run is verified: each score is of one training, so that the best were also lucky."
"""What is said of a run without a verdict."""
_SHOWN = 3  # collapsed trainings that are named; of the others, the count is given
_GROUPS = ((1, "better than"), (-1, "worse than"), (0, "not told apart from"), (None, "not compared with"))


def sentences(verdict: Verdict) -> str:
    """The verdict as a paragraph: the comparison with the baseline, the unseen network, and the other references."""
    if verdict.layer is None:
        return (
            f"No layer of this run is verified: each of its {len(verdict.finalists)} finalists {_ended(verdict)} in a "
            f"training, so none was scored on the test split.{_again(verdict)}"
        )
    layer = _named(verdict.layer)
    if verdict.missing:
        return (
            f"No layer of this run is verified yet: {layer} is the best on held-out images, but "
            f"{_trainings(verdict.missing)} on the test split {'is' if verdict.missing == 1 else 'are'} missing; "
            f"`{verdict.command}` continues."
        )
    if verdict.collapsed:
        return (
            f"No layer of this run is verified: the best, {layer}, collapsed ({_first(verdict.collapsed)}). "
            "The test split is used once, so the next finalist was not tested."
        )
    return " ".join(part for part in (_against_baseline(verdict), _against_others(verdict), _failed(verdict)) if part)


def brief(verdict: Verdict) -> str:
    """The verdict in a few words, for a line or a column of a table."""
    if verdict.layer is None:
        return f"all finalists {_ended(verdict)}"
    if verdict.missing:
        return f"not finished, {_trainings(verdict.missing)} missing"
    layer, found = verdict.layer.id, _baseline(verdict, verdict.test)
    if verdict.collapsed:
        return f"{layer} collapsed"
    if found is None or found.paired is None:
        return f"{layer} not compared with {verdict.baseline}"
    if verdict.better_than_all:
        return f"{layer} better than all {len(verdict.references)} published layers"
    return f"{layer} {dict(_GROUPS)[found.told_apart]} {verdict.baseline} ({_difference(found)})"


def word(verdict: Verdict) -> str:
    """The verdict in a word, for a column of a table."""
    if verdict.layer is None:
        return _ended(verdict)
    if verdict.missing:
        return "unfinished"
    if verdict.collapsed:
        return "collapsed"
    return "better" if verdict.better else "not better"


def standing(verdict: Verdict | None, layer: str) -> str:
    """What the verdict on its run says of a candidate, by its id "RUN/INDEX"."""
    if verdict is not None and verdict.layer is not None and verdict.layer.id == layer:
        return sentences(verdict)
    finalist = None if verdict is None else next((one for one in verdict.finalists if one.layer.id == layer), None)
    if finalist is None:
        return "no: it is not among the layers that were, and the best of the many scores of a search are also lucky"
    found = next(iter(finalist.layer.samples.values()))
    if finalist.collapsed:
        return f"no: it was trained again, and collapsed ({_first(finalist.collapsed)})"
    return f"no: it was trained again, {len(found.by_seed)} seeds, and another was better ({found.mean:.3f} held out)"


def _named(layer: Ranked) -> str:
    """The layer's number, its name if it has one, and whether the search only started from it."""
    known = [*filter(None, [layer.name]), *(["which the search started from"] if layer.start else [])]
    return f"{layer.id} ({', '.join(known)})" if known else layer.id


def _against_baseline(verdict: Verdict) -> str:
    assert verdict.layer is not None
    layer, found = _named(verdict.layer), _baseline(verdict, verdict.test)
    if found is None or found.paired is None:
        return (
            f"No layer of this run is verified: the best, {layer}, was not compared with {verdict.baseline}, because "
            "they share no training that worked."
        )
    where = "points on images that chose nothing" if found.of_accuracy else "on data that chose nothing"
    where += f", in {' and '.join(verdict.target)}" if verdict.target else ""
    p = "" if found.corrected is None else "p < 0.001" if found.corrected < 0.001 else f"p = {found.corrected:.2g}"
    none = f"No layer of this run is better than {verdict.baseline}, as far as was verified: the best, {layer},"
    unseen = _on_unseen(verdict)
    if found.told_apart == 1:
        return f"{layer} is better than {verdict.baseline} by {_size(found)} {where} ({p}){unseen}."
    if found.told_apart == -1:
        return f"{none} is worse by {_size(found)} {where} ({p}){unseen}."
    p = p or ("one seed tells nothing" if found.paired.interval is None else "")
    details = ", ".join(part for part in (f"{_difference(found)} {where}", p) if part)
    return f"{none} is not told apart from it ({details}){unseen}."


def _on_unseen(verdict: Verdict) -> str:
    """What the unseen network says, as the end of a sentence."""
    if verdict.unseen is None and not all(one.of_accuracy for one in verdict.test):
        return ""  # a training loop of the user's own has no networks that evonas could exchange
    if verdict.unseen is None:
        return "; it was tried on no network that the search did not train"
    found, place = _baseline(verdict, verdict.transfer), f"on the unseen network {verdict.unseen}"
    if found is None or found.paired is None:
        return f"; {place} the two were not compared"
    words = {1: "better", -1: "worse"}.get(found.told_apart or 0, "not told apart")
    return f", and {words} {place} ({_difference(found)})"


def _against_others(verdict: Verdict) -> str:
    others = [one for one in verdict.test if one.reference != verdict.baseline]
    if verdict.better_than_all and others:
        return f"It is better than all {len(verdict.references)} published layers beside it: {_list(others)}."
    groups = [(words, [one for one in others if one.told_apart == told]) for told, words in _GROUPS]
    said = [f"{words} {_list(found)}" for words, found in groups if found]
    return f"It is {'; '.join(said)}." if said else ""


def _ended(verdict: Verdict) -> str:
    """How the finalists ended, none of which was tested."""
    ends = {bool(one.collapsed) for one in verdict.finalists}
    return "collapsed or failed" if len(ends) > 1 else "collapsed" if ends == {True} else "failed"


def _again(verdict: Verdict) -> str:
    """That failed trainings can be tried again, if there are any, as the end of a paragraph."""
    failed = any(not one.collapsed for one in verdict.finalists)
    return f" `{verdict.command}` tries again what failed." if failed else ""


def _failed(verdict: Verdict) -> str:
    """How many trainings had no score, which are left out of the comparisons."""
    assert verdict.layer is not None
    layers = [verdict.layer, *verdict.references]
    reasons = [reason for one in layers for found in one.samples.values() for reason in found.failures]
    count = sum(": diverged on " not in reason for reason in reasons)
    return f"{_trainings(count)} failed and {'is' if count == 1 else 'are'} left out." if count else ""


def _baseline(verdict: Verdict, comparisons: Sequence[PairedComparison]) -> PairedComparison | None:
    return next((one for one in comparisons if one.reference == verdict.baseline), None)


def _list(found: Sequence[PairedComparison]) -> str:
    return ", ".join(f"{one.reference} ({_difference(one)})" if one.paired else one.reference for one in found)


def _difference(found: PairedComparison) -> str:
    """A difference with half the width of its interval: in points, which are hundredths of an accuracy.

    What a training loop of the user's own returned is compared as it is.
    """
    assert found.paired is not None
    ends = found.paired.interval
    half = None if ends is None else (ends.high - ends.low) / 2
    if not found.of_accuracy:
        return f"{found.paired.difference:+.3g}" + ("" if half is None else f" ± {half:.2g}")
    points = round(100 * found.paired.difference, 1) + 0.0  # so that no difference is not -0.0
    return f"{points:+.1f}" + ("" if half is None else f" ± {100 * half:.1f}")


def _size(found: PairedComparison) -> str:
    """The same without the sign."""
    return _difference(found)[1:]


def _trainings(count: int) -> str:
    return f"{count} training{'' if count == 1 else 's'}"


def _first(phrases: Sequence[str]) -> str:
    more = len(phrases) - _SHOWN
    return "; ".join(phrases[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
