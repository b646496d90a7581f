"""``python -m attacks [NAME …]``: run attacks and say what became of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from attacks import ATTACKS, run


def main(names: Sequence[str]) -> int:
    """Run attacks; return how many were not repelled.

    Args:
        names: Which, see ``parse``; all where there are none.
    """
    failures = 0
    for name in names or ATTACKS:
        outcome = run(ATTACKS[name])
        failures += not outcome.is_repelled
        mark = "repelled" if outcome.is_repelled else "NOT REPELLED"
        print(f"{mark}  {name}  {outcome.seconds:.3f} s  {outcome.memory / 2**20:.0f} MiB")
        print(f"    {outcome.error or 'nothing was raised'}"[:300])
    print(f"{len(names or ATTACKS)} attacks, {failures} not repelled")
    return failures


def parse(arguments: Sequence[str] | None = None) -> list[str]:
    """Return the names of the attacks that the command line asks for; none for all."""
    parser = argparse.ArgumentParser(prog="python -m attacks", description="Runs attacks and says what became of them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default; any of: {', '.join(ATTACKS)}")
    names: list[str] = parser.parse_args(arguments).names
    for name in names:
        if name not in ATTACKS:
            parser.error(f"there is no attack {name!r}; there are: {', '.join(ATTACKS)}")
    return names


if __name__ == "__main__":
    sys.exit(min(main(parse()), 1))
