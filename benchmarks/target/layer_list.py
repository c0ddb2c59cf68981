"""The layers that the target is measured on: published, random ones that learn, and evolved ones."""

from __future__ import annotations

import json
from pathlib import Path

LAYERS = Path(__file__).parent / "layers.json"


def layers(*origins: str) -> list[str]:
    """Return the layers of ``layers.json``, or those of some origins."""
    rows = json.loads(LAYERS.read_text())
    return [row["layer"] for row in rows if not origins or row["origin"] in origins]
