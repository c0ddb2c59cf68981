"""The command `python -m benchmarks.kernels`, which the docstring of the package describes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from time import monotonic
from typing import Any

_CACHES = {"EVONAS_CACHE": "evonas", "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor"}


def main() -> None:
    """Runs the benchmark."""
    from benchmarks.kernels.items import PARTS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels")
    parser.add_argument("--minutes", type=float, default=9.0, help="time after which nothing more is measured")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for rows and their summary")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--repeats", type=int, default=15, help="number of calls, of which the median is reported")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="number of processes that compile at the same time"
    )
    parser.add_argument("--caches", type=Path, help="a folder for compiled code; by default, one next to the rows")
    parser.add_argument("--taste", action="store_true", help="measure only the first item of each part")
    parser.add_argument("--commit", help="commit of the code, if the tree has no git history")
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda", help="cpu: check correctness in the interpreter"
    )
    arguments = parser.parse_args()
    end = monotonic() + 60 * arguments.minutes
    caches = (arguments.caches or arguments.output / "caches").resolve()
    for variable, name in _CACHES.items():
        os.environ.setdefault(variable, str(caches / name))
    if arguments.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
        sys.exit(_interpreted(arguments.output, end))
    import torch

    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no GPU; --device cpu checks correctness in Triton's interpreter")
    from benchmarks.kernels.items import Item, items
    from benchmarks.kernels.rows import Rows, identity
    from benchmarks.kernels.supervising import Effort, measure
    from benchmarks.kernels.tables import printed, summary, text

    rows = Rows(arguments.output, identity(torch.cuda.get_device_name(), arguments.repeats, arguments.commit))
    wanted: list[Item] = [item for item in items() if item.part in arguments.part]
    if arguments.taste:
        wanted = [item for part in PARTS for item in [i for i in wanted if i.part == part][:1]]
    begun = monotonic()

    def show(row: dict[str, Any]) -> None:
        print(f"{monotonic() - begun:6.1f} s  {printed(row)}", flush=True)

    effort = Effort(deadline=end, repeats=arguments.repeats, processes=arguments.processes or 1)
    left = measure(wanted, rows, effort, on_row=show)
    found = summary(rows)
    (arguments.output / "kernels.json").write_text(text(found))
    if left:
        print(f"{len(left)} of {len(wanted)} not measured, from {left[0].key} on; the same command continues there")
    sys.exit(1 if found["wrong"] or found["failed"] else 0)


def _interpreted(folder: Path, end: float) -> int:
    """Checks correctness on a CPU, in Triton's interpreter; returns the exit code."""
    import numpy
    import triton
    from triton.runtime.errors import InterpreterError

    from benchmarks.kernels.items import Item, checks
    from benchmarks.kernels.rows import Rows, identity
    from benchmarks.kernels.tables import printed
    from benchmarks.kernels.tasks import correctness

    rows = Rows(folder, identity("Triton's interpreter", 1))
    known, wrong = {row["key"] for row in rows}, 0
    for item in (Item("correctness", case) for case in checks()):
        if item.key in known:
            continue
        if monotonic() > end:
            print("the time is up; the same command continues here")
            break
        try:
            found = correctness(item.given, "cpu")
        except InterpreterError as error:
            sys.exit(f"Triton {triton.__version__}'s interpreter does not run with NumPy {numpy.__version__}: {error}")
        row = {"key": item.key, "part": item.part, **item.given, **found}
        rows.add(row)
        wrong += bool(row["wrong"])
        print(printed(row), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    main()
