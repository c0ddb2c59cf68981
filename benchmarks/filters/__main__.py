"""The command line of `benchmarks.filters`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import benchmarks.filters
from benchmarks.filters import price, speed
from evonas.errors import UsageError
from evonas.settings.presets import DEFAULT
from evonas.setup.assemble import configure

RESULTS = Path("benchmarks/results")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.filters",
        description=benchmarks.filters.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=20_000, help="proposals per row and round")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the median counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--against", type=Path, help="another checkout of evonas to measure in turns with this one")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "filters.json", help="JSON file to write")
    commands = parser.add_subparsers(dest="command", title="the cost of a rejection")
    pricing = commands.add_parser("price", help="cost and errors of the filters that need a network")
    pricing.add_argument("--count", type=int, default=120, help="candidates in all, those of an earlier run included")
    pricing.add_argument("--space", default="evonorm")
    pricing.add_argument("--preset", default=DEFAULT, help="preset whose protocol and twins are used")
    pricing.add_argument("--seed", type=int, default=0)
    pricing.add_argument("--anew", action="store_true", help="discard the candidates in the file")
    pricing.add_argument("-o", "--output", type=Path, default=RESULTS / "filters_price.json", help="JSON file")
    arguments = parser.parse_args()
    least = min(arguments.count, getattr(arguments, "rounds", 1))
    if least < 1:
        parser.error(f"the number of proposals, rounds or candidates must be at least 1, not {least}")
    against = getattr(arguments, "against", None)
    if against is not None and not (against / "evonas" / "evolution" / "propose.py").exists():
        parser.error(f"--against {against}: this is not a checkout of evonas with evonas/evolution/propose.py")
    torch.set_num_threads(1)
    if arguments.command == "price":
        try:
            config = configure(arguments.space, preset=arguments.preset, settings={"seed": arguments.seed})
        except UsageError as error:
            parser.error(str(error))
        with TemporaryDirectory() as cache:  # an empty cache, so that kernels of candidates are built, as in a search
            os.environ["EVONAS_CACHE"] = cache
            price.run(config, arguments.count, arguments.output, arguments.anew)
    else:
        speed.run(arguments.count, arguments.rounds, arguments.seed, arguments.output, arguments.against)


if __name__ == "__main__":
    main()
