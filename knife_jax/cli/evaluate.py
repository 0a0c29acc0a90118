"""``python -m knife_jax.evaluate RUN``: play the policy of a run's checkpoint greedily."""

from __future__ import annotations

import argparse
import sys

from knife_jax.cli.arguments import Parser, add_policy, whole
from knife_jax.config.schema import ConfigError
from knife_jax.console import messages
from knife_jax.console.exit_codes import REFUSED


def main() -> None:
    """Print the evaluation of a run; exit with 2 and one line if it cannot be made."""
    args = _arguments()
    if not args.run.is_dir():
        messages.error(f"{args.run} is refused: must be a run directory")
        sys.exit(REFUSED)
    # jax is first imported here
    from knife_jax.host.evaluate_checkpoint import evaluate_checkpoint
    from knife_jax.host.stored import ResumeError

    try:
        evaluate_checkpoint(args.run, args.checkpoint, args.episodes, args.seed)
    except (ResumeError, ConfigError) as error:
        messages.error(str(error))
        sys.exit(REFUSED)


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog="python -m knife_jax.evaluate",
        description="Play the policy of a run greedily: first episodes, and their mean per seed.",
        epilog="By default the newest policy plays the episodes of the run's final evaluation and "
        "gets its final_return again, and that of --checkpoint best the ten times as many of the "
        "absolute metric (absolute_return). --episodes and --seed play others.",
    )
    add_policy(parser)
    parser.add_argument(
        "--episodes", type=whole(1), metavar="N", help="episodes per seed (default: as in the run)"
    )
    parser.add_argument("--seed", type=whole(0), metavar="N", help="of the episodes (default: 128)")
    return parser.parse_args()
