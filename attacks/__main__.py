"""``python -m attacks [NAME …]``: run attacks and say what became of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from attacks import ATTACKS, run
from mu2net.errors import UnknownNameError


def main(names: Sequence[str]) -> int:
    """Run attacks; return how many were not repelled.

    Args:
        names: Which; all where there are none.
    """
    failures = 0
    for name in names or ATTACKS:
        if name not in ATTACKS:
            raise UnknownNameError("attack", name, ATTACKS)
        outcome = run(ATTACKS[name])
        failures += not outcome.is_repelled
        mark = "repelled" if outcome.is_repelled else "NOT REPELLED"
        print(f"{mark}  {name}  {outcome.seconds:.3f} s  {outcome.memory / 2**20:.0f} MiB")
        print(f"    {outcome.error or 'nothing was raised'}"[:300])
    print(f"{len(names or ATTACKS)} attacks, {failures} not repelled")
    return failures


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
