"""``python -m knife_jax.evaluate RUN``: play the policy of a run's checkpoint greedily."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from knife_jax.host.streams import outlast_readers
from knife_jax.schema import ConfigError

REFUSED = 2
"""exit code where there is nothing that can be played"""


def main() -> None:
    """Print the evaluation of a run; exit with 2 and one line where it cannot be made."""
    outlast_readers()
    args = _arguments()
    if not args.run.is_dir():
        print(f"error: {args.run} is refused: must be a run directory", file=sys.stderr)
        sys.exit(REFUSED)
    # jax is first imported here
    from knife_jax.host.judge import judge
    from knife_jax.host.resume import ResumeError

    try:
        judge(args.run, args.checkpoint, args.episodes, args.seed)
    except (ResumeError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(REFUSED)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m knife_jax.evaluate",
        description="Play the policy of a run greedily: first episodes, and their mean per seed.",
        epilog="Without --seed these are the episodes of the run's own evaluation at that moment.",
    )
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument(
        "--checkpoint",
        default="newest",
        metavar="WHICH",
        help="newest, best, or the env steps of one (default: newest whose sums agree)",
    )
    parser.add_argument(
        "--episodes", type=_count, metavar="N", help="episodes per seed (default: as in the run)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the episodes")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is refused: must be a whole number, at least 1")
    return int(text)


if __name__ == "__main__":
    main()
