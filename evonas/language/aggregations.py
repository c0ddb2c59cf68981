"""The aggregations among the primitives: three moments over six index sets."""

from __future__ import annotations

from evonas.language.primitive import IndexSet, Moment, Parity, Primitive

# An adjoint is a density over the positions of x (see `evonas.language.differentiate`), so the adjoint of a mean is its
# mean. Dividing by an rms or a standard deviation needs no eps, because neither is smaller than √eps.
_DERIVATIVE = {
    Moment.MEAN: "mean_{i}(g)",
    Moment.RMS: "a * (mean_{i}(g) / y)",
    Moment.STD: "(a - mean_{i}(a)) * (mean_{i}(g) / y)",
}
_MOMENT_LATEX = {Moment.MEAN: r"\mu", Moment.RMS: r"\rho", Moment.STD: r"s"}
_INDEX_LATEX = {
    IndexSet.BWH: "b,w,h",
    IndexSet.WHC: "w,h,c",
    IndexSet.WH: "w,h",
    IndexSet.WHCG: "w,h,c_g",
    IndexSet.C: "c",
    IndexSet.CG: "c_g",
}
_INDEX_NOUN = {
    IndexSet.BWH: "batch",
    IndexSet.WHC: "layer",
    IndexSet.WH: "instance",
    IndexSet.WHCG: "group",
    IndexSet.C: "channel",
    IndexSet.CG: "head",
}
_OVER_DIMS = {
    Moment.MEAN: "{{0}}.mean({dims}, keepdim=True)",
    Moment.RMS: "{{0}}.square().mean({dims}, keepdim=True)",
    Moment.STD: "{{0}}.var({dims}, correction=0, keepdim=True)",
}
_RAW_SOURCE = {
    IndexSet.WHC: {moment: text.format(dims="(1, 2, 3)") for moment, text in _OVER_DIMS.items()},
    IndexSet.WH: {moment: text.format(dims="(2, 3)") for moment, text in _OVER_DIMS.items()},
    IndexSet.C: {moment: text.format(dims="1") for moment, text in _OVER_DIMS.items()},
    IndexSet.WHCG: {
        Moment.MEAN: "mean_in_groups({0}, {groups})",
        Moment.RMS: "mean_in_groups({0}.square(), {groups})",
        Moment.STD: "var_in_groups({0}, {groups})",
    },
    IndexSet.CG: {
        Moment.MEAN: "mean_in_heads({0}, {groups})",
        Moment.RMS: "mean_in_heads({0}.square(), {groups})",
        Moment.STD: "var_in_heads({0}, {groups})",
    },
    IndexSet.BWH: {
        Moment.MEAN: "self._batch_mean({0}, {running})",
        Moment.RMS: "self._batch_square({0}, {running})",
        Moment.STD: "self._batch_var({0}, {running}, {count})",
    },
}


def _aggregation(moment: Moment, index_set: IndexSet) -> Primitive:
    head = _MOMENT_LATEX[moment] + "_{{" + _INDEX_LATEX[index_set] + "}}"
    raw = _RAW_SOURCE[index_set][moment]
    is_mean = moment is Moment.MEAN
    return Primitive(
        name=f"{moment.value}_{index_set.value}",
        arity=1,
        source=raw if is_mean else f"torch.sqrt({raw} + {{eps}})",
        noun=f"{_INDEX_NOUN[index_set]}_{moment.value}",
        latex=head + r"\left({}\right)",
        derivative=(_DERIVATIVE[moment].format(i=index_set.value),),
        parity=Parity.ODD if is_mean else Parity.EVEN,
        nonnegative=not is_mean,
        linear=is_mean,
        at_least_root_eps=not is_mean,
        moment=moment,
        index_set=index_set,
    )


AGGREGATIONS = tuple(_aggregation(moment, index_set) for moment in Moment for index_set in IndexSet)

_OF_PLANES = (IndexSet.BWH, IndexSet.WHC, IndexSet.WH, IndexSet.WHCG)
"""The index sets that consist of whole planes."""

MEANS_OVER_PLANES = tuple(
    Primitive(
        name=f"planes_{index_set.value}",
        arity=1,
        noun="planes",
        linear=True,
        moment=Moment.MEAN,
        index_set=index_set,
        of_planes=True,
    )
    for index_set in _OF_PLANES
)
"""Means over the planes of a cell, of values that are constant on planes; only the plans of kernels use them."""
