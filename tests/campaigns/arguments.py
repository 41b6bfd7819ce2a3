"""What the campaigns are told on their command lines."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["parse"]


def parse(name: str, description: str | None, counted: str, count: int, kept: str) -> argparse.Namespace:
    """`counted` is what it does so often at the most; `kept` what lies in its folder."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument(f"--{counted}", type=int, default=count)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help=f"where the {kept} lies; kept when something is wrong")
    return parser.parse_args()
