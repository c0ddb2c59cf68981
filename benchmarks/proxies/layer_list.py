"""The layers of the study of proxies: published ones, and others drawn at random from what two searches learned."""

from __future__ import annotations

import json
from pathlib import Path

LAYERS = Path(__file__).parent / "layers.json"


def proxy_layers() -> list[dict[str, str]]:
    """Return the fifty layers: `layer`, a name or an expression, and `origin`, what had become of it before."""
    found: list[dict[str, str]] = json.loads(LAYERS.read_text())
    return found
