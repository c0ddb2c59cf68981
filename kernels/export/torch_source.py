"""Writes a graph as PyTorch source: one module file that needs only torch and reads as if it was written by hand.

The source of an operation is in its row of `evonas.language.primitive_table`, and the helper functions are real code in
`evonas.kernels.export.torch_helpers`; this file knows neither. No text from users becomes code: class names are checked
to be unused identifiers, and all other text passes through `quoted`.
"""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType

from evonas.errors import UsageError, shorten
from evonas.kernels.export import torch_helpers
from evonas.kernels.export.kernel_source import IMPORTS, NAMES, KernelSource, kernel_source
from evonas.kernels.export.torch_templates import BACKEND, CLASS
from evonas.kernels.plan.kind import kinds_of
from evonas.kernels.plan.walk import in_order
from evonas.kernels.printing.docstring import formula, quoted, wrapped
from evonas.language.axes import Extent
from evonas.language.expression import difference
from evonas.language.graph import INPUTS, ZERO, Graph
from evonas.language.leaf import Leaf
from evonas.language.primitive_table import PRIMITIVES
from evonas.layers.running_values import running_names, starts

_DIFFERENCE = "{0} - {1}"
"""The template of a sum with one negated term, which people write as a difference."""
_FUNCTIONS = {name: f for name, f in vars(torch_helpers).items() if isinstance(f, FunctionType)}
_METHODS = {name: f for name, f in vars(torch_helpers.Tracking).items() if isinstance(f, FunctionType)}
_CALL = re.compile(r"\b\w+(?=\()")


def to_torch(
    graph: Graph,
    class_name: str = "Layer",
    header: Sequence[str] = (),
    linear: Graph | None = None,
    triton: bool = False,
    start: Mapping[str, float] | None = None,
) -> str:
    """The source of a module file with a class that is `NormAct` of exactly this graph.

    Its parameters and buffers have the names that `NormAct(graph, …)` gives them, so their states are
    interchangeable. Export the graph that was trained, not another graph of the same function.

    Args:
        graph: the layer before its affine.
        class_name: the name of the class.
        header: lines for the file's docstring; they may hold anything.
        linear: a layer for positions without an activation, written as a second class with `Linear`
            appended to its name.
        triton: whether to add the layer's Triton kernels, which compute it on a GPU, if it can have some.
        start: what parameters start at, by name, as in `NormAct`.

    Raises:
        UsageError: if `class_name` is not an identifier, is a keyword, or is used by the file itself.
    """
    check_class_name(class_name)
    kernels = kernel_source(graph) if triton and kinds_of(graph) else None
    classes = [_class(graph, class_name, "A normalisation-activation layer.", kernels, start or {})]
    if linear is not None:
        summary = f"What stands beside `{class_name}` where a network has no activation."
        classes.append(_class(linear, check_class_name(class_name + "Linear"), summary))
    also = [] if kernels is None else [kernels.text]
    helpers = _copied(_FUNCTIONS, "\n".join([*classes, *also]))
    lines = ["A normalisation-activation layer, exported by evonas; it needs only PyTorch."]
    lines += [] if kernels is None else ["", "Where there is Triton and a GPU, the kernels at the end compute it."]
    lines += ["", *formula(graph, in_latex=True)]
    if header:
        lines += ["", *(part for line in header for part in wrapped(quoted(line), "", "    "))]
    docstring = "\n".join(lines)
    imports = "\nimport torch\nfrom torch import Tensor, nn\n" if kernels is None else IMPORTS
    # TorchScript reads annotations as they are, which this import would turn into text.
    future = "" if kernels is None else "from __future__ import annotations\n\n"
    parts = [f'r"""{docstring}\n"""\n\n{future}{imports.lstrip()}', *helpers, *classes, *also]
    text = "\n\n".join(part.strip("\n") + "\n" for part in parts)
    if len(re.findall(rf"^(?:def |class |){class_name}\b", text, re.M)) > 1:
        raise UsageError(f"the file itself uses the name {class_name!r}; give the class another")
    return text


def check_class_name(name: str) -> str:
    """Returns `name` if a class in the file may have it.

    Raises:
        UsageError: if it may not.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"the class name must be a Python identifier such as MyLayer, not {shorten(name)}")
    # Python normalises identifiers to this form, in which two that look different may be the same.
    if unicodedata.normalize("NFKC", name) != name:
        raise UsageError(f"the class name {shorten(name)} must be in Unicode normalization form NFKC")
    if name in {*vars(builtins), *_FUNCTIONS, *NAMES, *re.findall(r"\w+", IMPORTS), "annotations"}:
        raise UsageError(f"the file itself uses the name {name!r}; give the class another")
    return name


def _class(
    graph: Graph, name: str, summary: str, kernels: KernelSource | None = None, start: Mapping[str, float] = {}
) -> str:
    running = running_names(graph)
    body = "\n".join(" " * 8 + line for line in _body(graph, running))
    methods = _copied(_METHODS, body)
    used = body + "".join(methods) + (kernels.method if kernels else "")
    state = [f"        self.{leaf.name} = nn.Parameter({_started(leaf, start)})\n" for leaf in graph.parameters]
    state += [f'        self.register_buffer("{name}", vector({start}))\n' for name, start in starts(graph).items()]
    reads = {setting: f"self.{setting}" in used for setting in ("groups", "eps", "momentum")}
    values = {"groups": "groups_dividing(channels, groups)", "eps": "eps", "momentum": "momentum"}
    settings = [f"        self.{s} = {values[s]}\n" for s, is_read in reads.items() if is_read]
    docs = {
        "groups": "number of groups of channels; lowered until it divides the channels.",
        "eps": "added under square roots and logarithms, and the clamp of divisions.",
        "momentum": "weight of the newest batch in running values.",
    }
    unused = "not used by this layer."
    source = CLASS.format(
        name=name,
        summary=summary,
        formula="\n".join(formula(graph, "    ", in_latex=False)),
        annotations="".join(f"    {buffer}: Tensor\n" for buffer in running.values()),
        settings="".join(settings),
        state="".join(state),
        body=body,
        extra="".join(f", {s}={{self.{s}}}" for s, is_read in reads.items() if is_read),
        **{
            part: text.replace("CONDITION", kernels.condition).replace("VALUE", kernels.value) if kernels else ""
            for part, text in BACKEND.items()
        },
        **{f"{s}_doc": docs[s] if is_read else unused for s, is_read in reads.items()},
    )
    if kernels:
        source += kernels.method
    return source + "".join("\n" + textwrap.indent(textwrap.dedent(m), "    ") for m in methods)


def _started(leaf: Leaf, start: Mapping[str, float]) -> str:
    """The tensor at which a parameter starts."""
    value = start.get(leaf.name, leaf.start)
    if leaf.extent is Extent.CHANNEL:
        return f"vector({value})"
    return f"torch.full((), {value}, device=device, dtype=dtype)"


def _body(graph: Graph, running: Mapping[int, str]) -> Iterator[str]:
    """One statement for each node; a negation that is used only in differences is written as part of them."""
    live = set(graph.live)
    if any("{count}" in PRIMITIVES[graph.node(n).op].source for n in graph.operations):
        yield "count = x.numel() // self.channels"
    for leaf in graph.parameters:
        yield f"{leaf.name} = per_channel(self.{leaf.name}, x.dtype)"
    names = {number: INPUTS[number] if number < len(INPUTS) else graph.node(number).op for number in live}
    statements = {number: _value(graph, number) for number in graph.operations}
    needed = set(in_order([graph.output], lambda n: statements[n][1] if n in statements else ()))
    if ZERO in needed:
        yield "zero = x.new_zeros(1, 1, 1, 1)"
    uses: dict[str, int] = {}
    for number in sorted(needed - statements.keys() - {ZERO}):
        constant = graph.leaf(number)
        if constant is not None and constant.value is not None:
            uses["constant"] = uses.get("constant", 0) + 1
            names[number] = "constant" if uses["constant"] == 1 else f"constant_{uses['constant']}"
            yield f"{names[number]} = x.new_full((1, 1, 1, 1), {constant.name})"
    for number, (template, args) in statements.items():
        if number not in needed:
            continue
        value = template.format(
            *(names[a] for a in args),
            eps="self.eps",
            groups="self.groups",
            running=f"self.{running.get(number)}",
            count="count",
        )
        if number == graph.output:
            yield f"return {value}"
            return
        noun = "difference" if template == _DIFFERENCE else PRIMITIVES[graph.node(number).op].noun
        uses[noun] = uses.get(noun, 0) + 1
        names[number] = noun if uses[noun] == 1 else f"{noun}_{uses[noun]}"
        yield f"{names[number]} = {value}"
    yield f"return {names[graph.output]}"


def _value(graph: Graph, number: int) -> tuple[str, tuple[int, ...]]:
    """The template of a node's value, and the nodes that fill it."""
    sides = difference(graph.nodes, number)
    if sides:
        return _DIFFERENCE, sides
    op, args = graph.node(number)
    return PRIMITIVES[op].source, args


def _copied(functions: Mapping[str, FunctionType], source: str) -> list[str]:
    """The sources of the functions that `source` calls, directly or through other functions, in their order."""
    wanted: set[str] = set()
    queue = [source]
    while queue:
        for name in set(_CALL.findall(queue.pop())) & functions.keys() - wanted:
            wanted.add(name)
            queue.append(inspect.getsource(functions[name]))
    return [inspect.getsource(f) for name, f in functions.items() if name in wanted]
