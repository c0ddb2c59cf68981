"""Writes a plan of rows in C++: one function for each pass, which goes over the rows of a part of the input.

Rows are contiguous, and W channels form a vector. A sweep handles four vectors at a time where it sums, so that one sum
need not wait for another. Rows are divided into parts that do not depend on the number of threads; each part adds its
share of the parameters' gradients to rows of its own, and these are added in their order, so that every run has the
same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from evonas.kernels.cpp.dialect import CPP
from evonas.kernels.cpp.loops import function
from evonas.kernels.plan.rows import GROUP_MEAN, RowPass, RowPlan, needed_means
from evonas.kernels.printing.value_writer import Body, Level
from evonas.language.graph import FIRST, X

_AT_A_TIME = 4
_BLOCK = 16
"""So many vectors of the parameters' gradients are added over all parts together."""
LEAST_ROWS, MOST_ROWS, PARTS = 8, 1024, 64
"""A part has at least and at most so many rows, and there are about so many parts."""


def parts_of(rows: int) -> tuple[int, int]:
    """The rows of a part, and the number of parts, of an input with so many rows."""
    each = min(MOST_ROWS, max(LEAST_ROWS, -(-rows // PARTS)))
    return each, -(-rows // each)


class CppRows:
    """Writes the functions of a layer.

    Args:
        plan: the plan of the layer.

    Attributes:
        densities: the names of the parameters, in the order of the rows of their gradients.
    """

    def __init__(self, plan: RowPlan) -> None:
        self.plan = plan
        self.densities = tuple(plan.backward.summed)
        self._leaves = {n: plan.name_of(n) for n in range(FIRST + len(plan.nodes)) if plan.is_loaded(n)}

    def stats_size(self, rows: int, groups: int) -> int:
        """How many numbers the forward pass needs beside the input: the means over groups, for each part."""
        return len(self.plan.group_means) * groups * parts_of(rows)[1]

    def totals_size(self, rows: int, channels: int, groups: int) -> int:
        """How many numbers the backward pass needs: those, and the gradients of the parameters for each part."""
        return self.stats_size(rows, groups) + len(self.densities) * channels * parts_of(rows)[1]

    def functions(self, backward: bool) -> list[str]:
        """The functions of the forward pass and, if asked for, of the backward pass."""
        found = [self._pass("forward_rows", self.plan.forward, "stats_ptr")]
        if backward:
            found += [self._pass("backward_rows", self.plan.backward, "totals_ptr"), self._sum_parts()]
        return found

    def entries(self, backward: bool) -> list[str]:
        """What calls these functions."""
        parts = f"    const i64 rows = call->B * call->HW, each = {_EACH};\n"
        found = [_entry("forward", f"{parts}    over_parts(forward_rows, *call, (rows + each - 1) / each, threads);\n")]
        if backward:
            work = f"{parts}    over_parts(backward_rows, *call, (rows + each - 1) / each, threads);\n"
            block = f"{_BLOCK} * W"
            blocks = f"({len(self.densities)} * call->C + {block} - 1) / ({block})"
            found.append(_entry("backward", f"{work}    over_parts(sum_parts, *call, {blocks}, threads);\n"))
        return found

    def _pass(self, name: str, one: RowPass, scratch: str) -> str:
        """The function that goes over the rows of one part."""
        is_backward = bool(one.summed)
        lines = [f"const i64 rows = B * HW, each = {_EACH}, end = min(rows, (part + 1) * each);"]
        lines.append(f"const T* const from_x = {'x_ptr' if is_backward else 'residual_ptr ? r_ptr : x_ptr'};")
        groups = len(self.plan.group_means)
        if groups:
            lines += ["const i64 width = C / G;", f"T* const heads = {scratch} + part * {groups} * G;"]
        if is_backward:
            start = f"{groups} * G * ((rows + each - 1) / each) + " if groups else ""
            sums = f"T* const sums = totals_ptr + {start}part * {len(self.densities)} * C;"
            lines += [sums, f"for (i64 i = 0; i < {len(self.densities)} * C; ++i) sums[i] = T(0);"]
        lines.append("for (i64 row = part * each; row < end; ++row) {")
        lines += ["    " + line for line in self._row(one)]
        return function(name, [*lines, "}"], "const Call& call, const i64 part")

    def _row(self, one: RowPass) -> list[str]:
        body = Body(self.plan, CPP)
        lines = ["const i64 at = row * C;"]
        if not one.summed:
            lines += _if("residual_ptr", _steps(_ADDED, []))
        for sweep in one.sweeps:
            lines += self._sweep(body, sweep)
        values = [one.written, *one.summed.values()]
        if one.summed:
            stores = {"store(dx_ptr + at + k, {}, left);": one.written}
            for place, node in enumerate(one.summed.values()):
                sum_ = f"sums + {place} * C + k"
                stores[f"store({sum_}, load({sum_}, left) + {{}}, left);"] = node
        else:
            result = "({}) * load(weight_ptr + k, left) + load(bias_ptr + k, left)"
            stores = {f"store(y_ptr + at + k, {result}, left);": one.written}
        lines += self._loop(body, values, stores, {})
        return lines + _if("dr_ptr", _steps(_ADDED_BACK, [])) if one.summed else lines

    def _sweep(self, body: Body, means: Sequence[int]) -> list[str]:
        """The lines that find some means; those of a row have names in `body` from then on."""
        sums = {n: body.fresh("sum") for n in means}
        lines = self._loop(body, [self._argument(n) for n in means], {}, sums)
        for n in means:
            if not self._is_of_groups(n):
                name = body.fresh("row_mean")
                lines.append(f"const T {name} = {_total(sums[n])} / T(C);")
                body.name(n, name, Level.SCALAR)
        return lines

    def _loop(self, body: Body, values: Sequence[int], stores: Mapping[str, int], sums: Mapping[int, str]) -> list[str]:
        """One sweep over a row, which stores some values and sums the arguments of some means."""
        has_groups = self.plan.has_groups
        of_groups = [n for n in sums if self._is_of_groups(n)]
        own = body.inner()
        own.indent = ""
        for n in needed_means(self.plan, values):
            if self._is_of_groups(n):
                name = own.fresh("head_mean")
                own.line(f"const T {name} = heads[{self._place(n)} * G + g];")
                own.name(n, name, Level.SCALAR)
        for number in own.reached(values):
            if number in self._leaves and number not in own.known and not self.plan.varies_in_sweep(number):
                name = own.fresh(self._leaves[number])
                own.line(f"const T {name} = {self._leaves[number]}_ptr[0];")
                own.name(number, name, Level.SCALAR)
        own.rows(values)
        before = [*own.lines]
        inner = own.inner()
        inner.indent, inner.in_tiles = "", True
        for number in inner.reached(values):
            if number in self._leaves and number not in inner.known:
                name = inner.fresh(self._leaves[number])
                offset = "at + k" if number == X or self._leaves[number] == "dy" else "k"
                start = "from_x" if number == X else f"{self._leaves[number]}_ptr"
                inner.line(f"const V {name} = load({start} + {offset}, left);")
                inner.name(number, name, Level.TILE)
        texts = dict(zip(values, inner.values(values), strict=True))
        step = [*inner.lines, *(text.format(_as_vector(texts[n])) for text, n in stores.items())]
        step += [f"{sums[n]} += first({texts[self._argument(n)]}, left);" for n in sums]
        loop = _steps(step, list(sums.values()))
        finished = [f"heads[{self._place(n)} * G + g] = {_total(sums[n])} / T(width);" for n in of_groups]
        lanes = [f"V {sums[n]}[{_AT_A_TIME}] = {{}};" for n in sums if n not in of_groups]
        own_lanes = [f"V {sums[n]}[{_AT_A_TIME}] = {{}};" for n in of_groups]
        if has_groups:
            head = ["for (i64 g = 0; g < G; ++g) {", "    const i64 from = g * width, to = from + width;"]
        else:
            head = ["{", "    const i64 from = 0, to = C;"]
        return [*lanes, *head, *("    " + line for line in [*before, *own_lanes, *loop, *finished]), "}"]

    def _sum_parts(self) -> str:
        groups = len(self.plan.group_means)
        lines = [f"const i64 rows = B * HW, each = {_EACH}, parts = (rows + each - 1) / each;"]
        lines += [f"const T* const sums = totals_ptr{f' + {groups} * G * parts' if groups else ''};"]
        lines += [f"const i64 count = {len(self.densities)} * C, from = block * {_BLOCK} * W;"]
        lines += [f"D sum[{_BLOCK}] = {{}};", "for (i64 part = 0; part < parts; ++part)"]
        lines += [f"    for (i64 i = 0, c = from; i < {_BLOCK} && c < count; ++i, c += W)"]
        lines += ["        sum[i] += wide(load(sums + part * count + c, count - c));"]
        lines += [f"for (i64 i = 0, c = from; i < {_BLOCK} && c < count; ++i, c += W)"]
        lines += ["    store(gradients_ptr + c, narrow(sum[i]), count - c);"]
        return function("sum_parts", lines, "const Call& call, const i64 block")

    def _argument(self, mean: int) -> int:
        return self.plan.nodes[mean - FIRST].args[0]

    def _is_of_groups(self, mean: int) -> bool:
        return self.plan.nodes[mean - FIRST].op == GROUP_MEAN

    def _place(self, mean: int) -> int:
        return self.plan.group_means.index(mean)


_EACH = f"min({MOST_ROWS}, max({LEAST_ROWS}, (rows + {PARTS - 1}) / {PARTS}))"
"""The rows of a part, as source; the same as in `parts_of`."""


_ADDED = ("store(r_ptr + at + k, load(x_ptr + at + k, left) + load(residual_ptr + at + k, left), left);",)
_ADDED_BACK = ("store(dx_ptr + at + k, load(dx_ptr + at + k, left) + load(dr_ptr + at + k, left), left);",)
"""The steps of loops of their own, over a row that is in the cache: other calls pay nothing for them."""


def _if(pointer: str, loop: Sequence[str]) -> list[str]:
    """A loop over all channels of a row, in calls with a pointer."""
    return [f"if ({pointer}) {{", "    const i64 from = 0, to = C;", *("    " + line for line in loop), "}"]


def _entry(name: str, work: str) -> str:
    return f'extern "C" void {name}(const Call* call, i64 threads) {{\n{work}}}\n'


def _steps(step: Iterable[str], sums: Sequence[str]) -> list[str]:
    """The loops over the channels from `from` to `to`, a step of which handles W of them."""
    arguments = "".join(f", V& {name}" for name in sums)
    lines = [f"const auto step = [&](const i64 k, const i64 left{arguments}) __attribute__((always_inline)) {{"]
    lines += [*("    " + line for line in step), "};", "i64 k = from;"]

    def call(place: str, left: str, lane: int) -> str:
        return f"step({place}, {left}{''.join(f', {name}[{lane}]' for name in sums)});"

    if sums:
        lines.append(f"for (; k + {_AT_A_TIME} * W <= to; k += {_AT_A_TIME} * W) {{")
        lines += [f"    {call(f'k + {i} * W' if i else 'k', 'W', i)}" for i in range(_AT_A_TIME)]
        lines.append("}")
    lines.append(f"for (; k + W <= to; k += W) {call('k', 'W', 0)}")
    lines.append(f"if (k < to) {call('k', 'to - k', 0)}")
    return lines


def _total(name: str) -> str:
    """The sum of all numbers of the vectors that a sweep summed into."""
    return f"sum_of({' + '.join(f'{name}[{i}]' for i in range(_AT_A_TIME))})"


def _as_vector(text: str) -> str:
    """A value that may be the same for all channels, as a vector."""
    return f"all({text})"
