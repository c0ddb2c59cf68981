"""The measuring process: it reads orders from its input, one line each, and answers with lines of JSON.

    {"begin": KEY}  an item is begun
    {"row": {...}}  the results; `failed` in it, with a sentence, if the item raised an error

It ends when its input ends. The process that started it watches the time and ends it if an item takes too long. After
an illegal memory access a GPU is unusable for a process, so after such an error this one ends on its own.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

_LOST = ("illegal memory access", "device-side assert", "launch failure", "misaligned address", "CUDA error: unknown")


def main() -> None:
    """Works through its orders."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # text that libraries print must not mix with the answers

    def send(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")

    from benchmarks.kernels.items import items

    known = {item.key: item for item in items()}
    for line in sys.stdin:
        order = json.loads(line)
        item = known[order["key"]]
        send({"begin": item.key})
        row = {"key": item.key, "part": item.part, **item.given}
        try:
            if item.part == "prepare":
                row |= _prepared(order, send)
            else:
                from benchmarks.kernels.tasks import done

                row |= done(item.part, item.given, order["repeats"])
        except Exception as error:
            traceback.print_exc()
            row["failed"] = f"{type(error).__name__}: {error}"[:500]
        send({"row": row})
        if any(words in row.get("failed", "") for words in _LOST):
            sys.exit(1)


def _prepared(order: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    from benchmarks.kernels.preparing import prepared

    known = set(order["known"])
    return prepared(order["seconds"], order["processes"], order["parts"], known, lambda row: send({"row": row}))


if __name__ == "__main__":
    main()
