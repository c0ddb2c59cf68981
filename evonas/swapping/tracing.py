"""The forward of one module as graphs of `torch.fx`: one for each way in which it may run, with its children as leaves.

A forward may take other paths in training and in evaluation, with and without an optional argument, and for tensors and
lists of them. What holds on all of its graphs holds for the forward.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import operator
import random
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from evonas.swapping.forward_code import ForwardCode

_SITE, _OPAQUE = "evonas_site", "evonas_opaque"
_LENGTHS = 1, 2, 3
"""How many values an argument has in the graphs of a forward that goes through it."""
_MOST_CASES = 16
"""How many combinations of optional arguments are traced; of more, only those with all of them and with none."""
_TORCH = str(Path(torch.__file__).parent)


class UntraceableError(Exception):
    """A forward that `torch.fx` cannot trace, or whose trace cannot be trusted; the message says why."""


class Site(NamedTuple):
    """Where in a program a node was called: the code of a function, and the offset of an instruction in it."""

    code: types.CodeType
    instruction: int


def site_of(node: fx.Node) -> Site | None:
    """Where the forward calls what a node stands for; None if nothing was traced there."""
    return node.meta.get(_SITE)


def is_whole(graph: fx.Graph) -> bool:
    """Return whether a graph has all that a forward passes on, so that it could take the place of the forward."""
    return not graph.output_node().meta.get(_OPAQUE)


def is_plain_sequential(module: nn.Module) -> bool:
    """Return whether a module just calls its children one after the other."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def traces(module: nn.Module) -> list[fx.Graph]:
    """Return the graphs of a module's own forward, without duplicates.

    Raises:
        UntraceableError: No graph of the forward could be trusted.
    """
    if is_plain_sequential(module):
        graph = fx.Graph()
        value = graph.placeholder("input")
        for name in module._modules:
            value = graph.call_module(name, (value,))
        graph.output(value)
        return [graph]
    if isinstance(module, fx.GraphModule):
        return [module.graph]
    if isinstance(module, torch.jit.ScriptModule):
        raise UntraceableError("it is a TorchScript module")
    code = ForwardCode.of(module)
    if code.obstacle is not None:
        raise UntraceableError(code.obstacle)
    tracers = (_Tracer, _TracerOfTensors) if code.checks_tensors else (_Tracer,)
    graphs: dict[str, fx.Graph] = {}
    for training, tracer, case in itertools.product((True, False), tracers, _cases(code.defaults)):
        with _mode(module, training), _same_random_numbers():
            for graph in _traced(tracer, module, case):
                graphs.setdefault(str(graph), graph)
    return list(graphs.values())


def _traced(make: type[_Tracer], module: nn.Module, case: dict[str, Any]) -> list[fx.Graph]:
    """The graphs of a forward with some arguments fixed: one, or one for each length of a sequence among them.

    A forward may take all values of an argument and join them, as in torch.cat((x, *others)). Then there are graphs for
    one, two and three values. If it does anything else with one of them, what it does may hang on its place.

    Raises:
        UntraceableError: The forward cannot be traced, or it does not treat all values of a sequence alike.
    """
    graphs, called = [], None
    for length in _LENGTHS:
        tracer = make(length)
        try:
            graph = tracer.trace(module, case)
        except UntraceableError:
            raise
        except Exception as error:  # a forward may raise anything when it gets a proxy instead of a tensor
            raise UntraceableError(f"torch.fx cannot trace it ({_first_line(error)})") from None
        graph.output_node().meta[_OPAQUE] = tracer.opaque or bool(tracer.elements)
        graphs.append(graph)
        if not tracer.elements:
            return graphs
        for values in tracer.elements:
            users = {user for value in values for user in value.users}
            if len(users) > 1 or any(len(value.users) > 1 for value in values):
                raise UntraceableError("it goes through an argument and does not just join its values")
        now = [node.target for node in graph.nodes if node.op == "call_module"]
        if called is not None and now != called:
            raise UntraceableError("which modules it calls hangs on the length of an argument")
        called = now
    return graphs


def _cases(defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The optional arguments that have a fixed value, for each combination; the others are values of the trace."""
    given = object()
    choices = [(True, False) if isinstance(default, bool) else (default, given) for default in defaults.values()]
    cases = [
        {name: value for name, value in zip(defaults, values, strict=True) if value is not given}
        for values in itertools.product(*choices)
    ]
    return cases if len(cases) <= _MOST_CASES else [{}, dict(defaults)]


@lru_cache(maxsize=1024)
def guards_an_error(code: types.CodeType, line: int) -> bool:
    """Whether a line is in the condition of an `if` that raises an error and does nothing else."""
    try:
        lines, first = inspect.getsourcelines(code)
        parsed = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return False
    place = line - first + 1
    checks = (node for node in ast.walk(parsed) if isinstance(node, ast.If) and not node.orelse)
    return any(
        node.test.lineno <= place <= (node.test.end_lineno or 0)
        and all(isinstance(one, ast.Raise) for one in node.body)
        for node in checks
    )


class _Value(fx.Proxy):
    """A value of the trace. Once it has begun to go through it, `tuple` asks for its length, and does without."""

    def __len__(self) -> int:
        frame, tracer = sys._getframe(1), self.tracer
        if isinstance(tracer, _Tracer) and tracer.begun == (self.node, frame, frame.f_lasti):
            raise TypeError("the length of a value is not known in a trace")
        return super().__len__()  # an error, which a forward that asks for a length does not expect


def _outside_of_torch() -> types.FrameType:
    """The frame of the forward, or of what it called, from which PyTorch was called that called the caller."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_TORCH):
        frame = frame.f_back
    return frame


class _Tracer(fx.Tracer):
    """A tracer with all modules as leaves, which notes where each call is.

    Args:
        length: how many values an argument has that the forward goes through.

    Attributes:
        opaque: whether objects were passed or returned of which the graph has only the values inside.
        elements: the values of each argument that the forward went through.
        begun: the last of these arguments, and the frame and the place in it where that began.
    """

    opaque = False

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.elements: list[list[fx.Node]] = []
        self.begun: tuple[fx.Node, types.FrameType, int] | None = None

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        if obj.node.op != "placeholder":
            return super().iter(obj)
        frame = _outside_of_torch()
        self.begun = obj.node, frame, frame.f_lasti
        values = [operator.getitem(obj, place) for place in range(self.length)]
        self.elements.append([value.node for value in values])
        return iter(values)

    def to_bool(self, obj: fx.Proxy) -> bool:
        frame = _outside_of_torch()
        if not guards_an_error(frame.f_code, frame.f_lineno):
            return super().to_bool(obj)
        self.opaque = True  # the graph has no check, which the source keeps
        return False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def create_arg(self, a: Any) -> Any:
        try:
            return super().create_arg(a)
        except NotImplementedError:
            if not hasattr(a, "__dict__"):
                raise
            self.opaque = True  # an object of a library, such as what a network returns: the values in it are followed
            return tuple(self.create_arg(value) for value in vars(a).values() if isinstance(value, fx.Proxy))

    def create_proxy(self, *args: Any, **kwargs: Any) -> fx.Proxy:
        proxy = super().create_proxy(*args, **kwargs)
        frame = _outside_of_torch()
        proxy.node.meta[_SITE] = Site(frame.f_code, frame.f_lasti)
        return proxy


class _TensorProxy(_Value):
    """A value of the trace that `isinstance` takes for a tensor."""

    @property  # type: ignore[misc]  # what isinstance asks for besides the type, and may be read only
    def __class__(self) -> type:
        return Tensor


class _TracerOfTensors(_Tracer):
    """A tracer whose values are tensors to a forward that asks for it."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _TensorProxy(node, self)

    def create_arg(self, a: Any) -> Any:
        return a.node if issubclass(type(a), fx.Proxy) else super().create_arg(a)


@contextmanager
def _mode(module: nn.Module, training: bool) -> Iterator[None]:
    before, module.training = module.training, training
    constants = set(vars(module))
    try:
        yield
    finally:
        module.training = before
        for name in set(vars(module)) - constants:  # the tracer stores constant tensors on the module
            delattr(module, name)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Raise UntraceableError if the block drew random numbers, which a graph would turn into constants."""
    tensors, python = torch.get_rng_state(), random.getstate()
    yield
    if not torch.equal(tensors, torch.get_rng_state()) or python != random.getstate():
        torch.set_rng_state(tensors)
        random.setstate(python)
        raise UntraceableError("it draws random numbers")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
