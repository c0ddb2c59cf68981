"""The layers that the target is measured on, and where they come from."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.proxies.layer_list import proxy_layers

FURTHER = Path(__file__).parent / "layers.json"


def target_layers() -> list[dict[str, str]]:
    """Return the layers of the study of proxies, those that evonas starts from or has ended with, and random ones."""
    return [*proxy_layers(), *json.loads(FURTHER.read_text())]
