"""A layer's Triton kernels as one Python file, which is written to the cache and imported from there."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from types import ModuleType

from evonas.cache import cache_folder, write_whole
from evonas.kernels.plan.plan import Plan
from evonas.kernels.triton.dialect import TRITON
from evonas.kernels.triton.kernel_parts import SIZES
from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.layers.running_values import running_names


def kernels_text(streaming: StreamingKernels, on_chip: OnChipKernels) -> str:
    """Every kernel of a layer: the streaming ones in the order in which they run, then those that hold whole cells."""
    schedule = streaming.schedule
    parts = [source for step in (*schedule.forward, *schedule.backward) for source in streaming.sources(step)]
    parts += [on_chip.forward()] if on_chip.has_forward else []
    parts += [on_chip.backward()] if on_chip.has_backward else []
    return "\n\n".join(_without_unused(part) for part in parts)


def _without_unused(kernel: str) -> str:
    """A kernel without the lines that find its plane, and then its sample, if nothing else in it uses them."""
    for name in ("plane", "b"):
        found = re.findall(rf"^ +{name} = .*\n", kernel, re.M)
        if len(re.findall(rf"\b{name}\b", kernel)) == len(found):
            for line in found:
                kernel = kernel.replace(line, "")
    return kernel


def source_of(plan: Plan) -> str:
    """The text of the file with every kernel of a layer."""
    running = running_names(plan.graph)
    return module_text(StreamingKernels(plan, running), OnChipKernels(plan, running))


def module_text(streaming: StreamingKernels, on_chip: OnChipKernels) -> str:
    """The text of the file with every kernel of a layer, from the writers of its kernels."""
    plan = streaming.plan
    mode = "training" if plan.training else "evaluation"
    # Expressions consist of names and operators only, so they cannot end a docstring.
    body = kernels_text(streaming, on_chip)
    called = ", ".join(name for name in TRITON.reserved if re.search(rf"\b{name}\(", body))
    imports = ["import triton", "import triton.language as tl"]
    imports += ["", f"from evonas.kernels.triton.helpers import {called}"] if called else []
    header = f'"""y = weight * f(x) + bias, in {mode}, with\n\n    f(x) = {plan.graph.written()}\n"""\n'
    return "\n".join([header, *imports, "", "", body])


def with_constant_sizes(text: str) -> str:
    """The same file with sizes and strides as constants of each kernel, for inputs of one shape each.

    The compiler then knows divisors of the sizes: it uses the widest possible loads, and needs no masks where tiles are
    full.
    """

    def head(found: re.Match[str]) -> str:
        return re.sub(rf"\b({'|'.join(SIZES)})(?=[,)])", r"\1: tl.constexpr", found[0])

    return re.sub(r"^def \w+\(.*?\):$", head, text, flags=re.M | re.S)


def import_from_cache(text: str) -> ModuleType:
    """The module with this source, from a file of the cache that is named for the digest of its text.

    Raises:
        OSError: if the cache cannot be written to.
    """
    name = f"evonas_kernels_{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache_folder() / "triton" / f"{name}.py"
    if not path.exists() or path.read_text() != text:
        write_whole(path, text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the path names a Python file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
