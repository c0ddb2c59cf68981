"""A layer's kernels as one Python file, written to a cache and imported from there."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from types import ModuleType

from evonas.kernels.cache import cache_folder, write_whole
from evonas.kernels.plan.plan import Plan
from evonas.kernels.printing.dialects import TRITON
from evonas.kernels.triton.kernel_parts import SIZES
from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.layers.running_values import running_names


def kernels_text(plan: Plan, kernels: StreamingKernels, on_chip: OnChipKernels) -> str:
    """Every kernel of a layer, in the order in which they run."""
    parts = []
    for after in range(len(plan.sweeps) + 1):
        if after:
            parts += [kernels.sweep(after), kernels.merge(after)]
        for number, join in enumerate(kernels.forward_joins, 1):
            if join.after == after:
                parts.append(kernels.join(f"join_{number}", join))
    parts.append(kernels.write())
    if not plan.one_sweep_back:
        parts += [kernels.totals(), kernels.merge_totals()]
        parts += [kernels.join(f"join_back_{n}", join) for n, join in enumerate(kernels.backward_joins, 1)]
    parts.append(kernels.write_back())
    if on_chip.possible:
        parts += [on_chip.forward(), *([] if plan.one_sweep_back else [on_chip.backward()])]
    return "\n\n".join(_without_unused(part) for part in parts)


def _without_unused(kernel: str) -> str:
    """A kernel without the lines that find its plane, then its sample, where nothing of it depends on them."""
    for name in ("plane", "b"):
        found = re.findall(rf"^ +{name} = .*\n", kernel, re.M)
        if len(re.findall(rf"\b{name}\b", kernel)) == len(found):
            for line in found:
                kernel = kernel.replace(line, "")
    return kernel


def source(plan: Plan, kernels: StreamingKernels, on_chip: OnChipKernels) -> str:
    """The text of a file with every kernel of a layer."""
    mode = "training" if plan.training else "evaluation"
    # Expressions are made of names and signs alone, and end no docstring.
    body = kernels_text(plan, kernels, on_chip)
    called = ", ".join(name for name in TRITON.reserved if re.search(rf"\b{name}\(", body))
    imports = ["import triton", "import triton.language as tl"]
    imports += ["", f"from evonas.kernels.triton.helpers import {called}"] if called else []
    header = f'"""y = weight * f(x) + bias, in {mode}, with\n\n    f(x) = {plan.graph.written()}\n"""\n'
    return "\n".join([header, *imports, "", "", body])


def fixed(text: str) -> str:
    """The same file with sizes and strides as constants of each kernel, for inputs of one shape each.

    The compiler then knows what divides what, so that it loads as wide as can be, and needs no masks where tiles are
    full.
    """

    def head(found: re.Match[str]) -> str:
        return re.sub(rf"\b({'|'.join(SIZES)})(?=[,)])", r"\1: tl.constexpr", found[0])

    return re.sub(r"^def \w+\(.*?\):$", head, text, flags=re.M | re.S)


def source_of(plan: Plan) -> str:
    """The text of the file with every kernel of a layer."""
    running = running_names(plan.graph)
    return source(plan, StreamingKernels(plan, running), OnChipKernels(plan, running))


def load(text: str) -> ModuleType:
    """The module with this source, which lies in the cache under the digest of its text.

    Raises:
        OSError: when the cache cannot be written to.
    """
    name = f"evonas_kernels_{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache_folder() / "triton" / f"{name}.py"
    if not path.exists() or path.read_text() != text:
        write_whole(path, text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it is a file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
