"""A plan for people to read."""

from __future__ import annotations

from evonas.kernels.plan.plan import Plan, Statistic, Taken
from evonas.language.graph import FIRST
from evonas.language.listing import listing
from evonas.language.primitive_table import IndexSet

_CELLS = {IndexSet.WH: "a plane", IndexSet.WHCG: "a group", IndexSet.WHC: "a sample"}


def text(plan: Plan) -> str:
    """The plan, sweep by sweep; values that an earlier line defines are referred to by its name."""
    names = {s.node: _name(plan, s) for s in plan.statistics}
    streaming, floor = plan.passes, plan.floor
    lines = [f"layer     {plan.graph.written()}, {'training' if plan.training else 'evaluation'}"]
    for number in range(len(plan.sweeps) + 1):
        if number:
            lines += _sweep(plan, f"sweep {number}", "reads x", plan.sweeps[number - 1], names)
        known = [s for s in plan.statistics if s.after == number and s.raw is not None]
        lines += _block("", [line for s in known for line in _statistic(plan, s, names)])
    lines += _block("write", listing(plan.nodes, {"y": plan.output}, names), ", times weight, plus bias")
    lines += _block("saved", [", ".join(["x", *(names[n] for n in plan.saved)])])
    if plan.totals:
        lines += _sweep(plan, "backward", "reads x and dy", plan.totals, names)
    rates = {node: f"rate_{names[s]}" for s, node in plan.rates.items() if node >= FIRST}
    finish: list[str] = []
    earlier = dict(names)
    for statistic, node in plan.rates.items():
        finish += listing(plan.nodes, {f"rate_{names[statistic]}": node}, earlier)
        earlier |= {node: rates[node]} if node in rates else {}
    finish += listing(plan.nodes, {f"d_{name} sums": node for name, node in plan.densities.items()}, earlier)
    lines += _block("", finish)
    lines += _block("write" if plan.rates else "", listing(plan.nodes, {"dx": plan.dx}, earlier))
    lines.append(f"traffic   forward {streaming[0]} S, backward {streaming[1]} S, S being the size of x")
    if floor != streaming and plan.cell is not None:
        lines.append(f"          forward {floor[0]} S, backward {floor[1]} S where {_CELLS[plan.cell]} fits on chip")
    return "\n".join(lines)


def _name(plan: Plan, statistic: Statistic) -> str:
    """The statistic as it is written in expressions, where that is short, else by its number."""
    op, args = plan.nodes[statistic.node - FIRST]
    return f"{op}(x)" if args == (0,) else f"{op}_{statistic.node}"


def _sweep(plan: Plan, title: str, reads: str, taken: tuple[Taken, ...], names: dict[int, str]) -> list[str]:
    outputs = {", ".join(plan.nodes[n - FIRST].op for n in (t.mean, t.variance) if n): t.value for t in taken}
    lines = listing(plan.nodes, outputs, names)
    for place, (what, line) in enumerate(zip(outputs, lines[-len(outputs) :], strict=True), len(lines) - len(outputs)):
        lines[place] = f"{what} of {line.removeprefix(f'{what} = ')}"
    return _block(title, [reads, *lines])


def _statistic(plan: Plan, statistic: Statistic, names: dict[int, str]) -> list[str]:
    assert statistic.raw is not None  # given statistics are not computed
    earlier = {n: name for n, name in names.items() if n != statistic.node}
    lines = listing(plan.nodes, {names[statistic.node]: statistic.raw}, earlier)
    if statistic.moment.value != "mean":
        left, right = lines[-1].split(" = ", 1)
        lines[-1] = f"{left} = root({right})"
    return lines


def _block(title: str, lines: list[str], after: str = "") -> list[str]:
    if not lines:
        return []
    first, *others = [*lines[:-1], lines[-1] + after]
    return [f"{title:<10}{first}", *(f"{'':<10}{line}" for line in others)]
