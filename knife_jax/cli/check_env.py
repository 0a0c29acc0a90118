"""``python -m knife_jax.envs.check TARGET [NAME=VALUE ...]``: does an environment keep its
contract?"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from knife_jax.cli.arguments import Parser
from knife_jax.cli.compose import compose
from knife_jax.config.schema import ConfigError
from knife_jax.console import messages
from knife_jax.console.exit_codes import REFUSED
from knife_jax.console.messages import say

if TYPE_CHECKING:
    from knife_jax.envs.check import Checked


def main() -> None:
    """Print what random play finds, and "ok"; one line for each fault, and exit with 2."""
    parser = Parser(
        prog="python -m knife_jax.envs.check",
        description="Check an environment of your own before training in it: trace it, play it at "
        "random, and say what was found. With faults: one line for each, and exit code 2.",
    )
    parser.add_argument("target", metavar="MODULE:FUNCTION", help="what returns the Env")
    parser.add_argument("args", nargs="*", metavar="NAME=VALUE", help="its keyword arguments")
    words = parser.parse_args()
    try:
        given = [f"env.args.{word}" for word in words.args]
        config = compose(["env=custom", f"env.target={words.target}", *given]).env
        # jax is first imported here
        from knife_jax.envs.check import check
        from knife_jax.envs.contract import ContractError
        from knife_jax.envs.custom import load

        try:
            checked = check(load(**config.arguments()))
        except ContractError as error:
            for fault in error.faults:
                messages.error(fault)
            sys.exit(REFUSED)
    except ConfigError as error:
        messages.error(str(error))
        sys.exit(REFUSED)
    say(f"{config.title().partition(' ')[2]}: {_sizes(checked)}")
    say(_played(checked))
    say(_speed(checked))
    say("ok")


def _sizes(checked: Checked) -> str:
    spec = checked.env.spec
    return (
        f"{spec.n_agents} agents, {spec.n_actions} actions, observations "
        f"[{spec.n_agents}, {spec.obs_size}], state [{spec.state_size}], at most {spec.horizon:,} "
        "transitions"
    )


def _played(checked: Checked) -> str:
    played = checked.played
    steps, n_envs = played.last.shape
    ended = played.last
    about = f"random play, {steps:,} steps of {n_envs} environments: {ended.sum():,} episodes"
    if not ended.any():
        return f"{about}; none came to its end"
    returns, lengths = played.returns[ended], played.lengths[ended]
    wins = f", won {100 * played.won[ended].mean():.0f} %" if checked.env.spec.has_win else ""
    return (
        f"{about}, return {returns.mean():.3g} ({returns.min():.3g} to {returns.max():.3g}), "
        f"length {lengths.mean():.3g} ({lengths.min()} to {lengths.max()}){wins}"
    )


def _speed(checked: Checked) -> str:
    began = time.perf_counter()
    checked.play()
    rate = checked.played.last.size / (time.perf_counter() - began)
    return f"{rate:,.0f} steps/s"
