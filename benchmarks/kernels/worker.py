"""The process that measures: takes keys of items from its input, a line each, and answers with lines of JSON.

    {"begin": KEY}  an item is begun
    {"row": {...}}  what was found; `failed` in it, with a sentence, where the item raised

It ends with its input. Whoever started it keeps the time and ends it when an item takes too long; a GPU that has met an
illegal access answers nothing more, so after such an error the process ends by itself.
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
    """Works through what it is told to."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")

    from benchmarks.kernels.items import items

    known = {item.key: item for item in items()}
    for line in sys.stdin:
        order = json.loads(line)
        item = known[order["key"]]
        tell({"begin": item.key})
        row = {"key": item.key, "part": item.part, **item.given}
        try:
            if item.part == "prepare":
                row |= _prepared(order, tell)
            else:
                from benchmarks.kernels.tasks import done

                row |= done(item.part, item.given, order["repeats"])
        except Exception as error:
            traceback.print_exc()
            row["failed"] = f"{type(error).__name__}: {error}"[:500]
        tell({"row": row})
        if any(words in row.get("failed", "") for words in _LOST):
            sys.exit(1)


def _prepared(order: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    from benchmarks.kernels.preparing import prepared

    known = set(order["known"])
    return prepared(order["seconds"], order["processes"], order["parts"], known, lambda row: tell({"row": row}))


if __name__ == "__main__":
    main()
