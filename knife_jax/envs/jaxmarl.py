"""JaxMARL's cooperative environments with discrete actions, stepped by its own code, as ``Env``.

Observations are flattened, and padded with zeros to the largest; actions that an agent lacks are
unavailable. The global state is JaxMARL's ``world_state`` if there is one, else all observations,
one after the other, as its QMIX has it. An episode that only the time limit ends is truncated.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from knife_jax.config.jaxmarl import COOPERATIVE
from knife_jax.config.schema import ConfigError, nearest, refusal, shown
from knife_jax.envs.base import Env, EnvSpec, TimeStep, VecEnv, first_step, vectorise
from knife_jax.envs.custom import check_names
from knife_jax.envs.inspection import why
from knife_jax.envs.lean_import import jaxmarl_module
from knife_jax.envs.smax.jaxmarl import bounded_state, smax
from knife_jax.envs.tasks import Tasks, single
from knife_jax.types import PyTree

REWARDS: dict[str, Callable[[Array], Array]] = {
    "sum": jnp.sum, "mean": jnp.mean, "first": lambda each: each[0],
}  # fmt: skip
FIRST = ("HeuristicEnemySMAX", "hanabi", "overcooked", "overcooked_v2")
"""where JaxMARL's QMIX learns from the first agent's reward; elsewhere from the sum"""


def make(id: str, args: Mapping[str, Any], reward: str | None) -> Tasks:
    """An environment of JaxMARL as a task; SMAX with its state bounded as by ``env=smax``.

    Raises ``ConfigError`` for what it refuses, or we do.
    """
    env = jaxmarl(id, args, reward)

    def of(n_envs: int) -> VecEnv:
        vec = vectorise(env, n_envs)
        return bounded_state(vec) if id == "HeuristicEnemySMAX" else vec

    return single(of)


def jaxmarl(id: str, args: Mapping[str, Any], reward: str | None = None) -> Env:
    """Make an environment of JaxMARL.

    Args:
        id: a name of ``config.jaxmarl.COOPERATIVE``.
        args: keyword arguments of its class; a scenario or layout by its name.
        reward: ``sum``, ``mean`` or ``first`` of the agents' rewards; None as JaxMARL's QMIX.

    Returns:
        The environment.

    Raises:
        ConfigError: it does not take these arguments, or its actions are not discrete.
    """
    refused = f"env.id={id} is refused:"
    family, _, name = COOPERATIVE[id].partition(":")
    module = jaxmarl_module(family)
    given = _named(id, module, args)
    check_names(f"JaxMARL's {name}", _parameters(module, name), given)
    try:
        if id == "HeuristicEnemySMAX":
            return smax(**{"scenario": "3m", **given})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its first Overcooked
            game = getattr(module, name)(**given)
    except Exception as error:  # whatever JaxMARL meets
        raise ConfigError(f"{refused} {why('it', error)}") from None
    for agent in game.agents:
        if not hasattr(game.action_space(agent), "n"):
            kind = type(game.action_space(agent)).__name__
            raise ConfigError(f"{refused} actions of {agent} are {kind}, must be Discrete")
    return _adapted(id, game, REWARDS[reward or ("first" if id in FIRST else "sum")])


def _named(id: str, module: Any, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with what has a name in the place of the name."""
    given = dict(args)
    if id == "overcooked" and "layout" in given:
        layouts = module.overcooked_layouts
        if given["layout"] not in layouts:
            layout, known = shown(given["layout"]), f"one of {', '.join(layouts)}"
            refused = f"env.args.layout={layout}"
            raise ConfigError(refusal(refused, known, nearest(layout, layouts)))
        given["layout"] = layouts[given["layout"]]
    return given


def _parameters(module: Any, name: str) -> list[str]:
    """What a class takes, with its bases: some drop what they do not know without a word."""
    classes = [*getattr(module, name).__mro__, *([module.SMAX] if hasattr(module, "SMAX") else [])]
    found = [p for c in classes if "__init__" in vars(c)
             for p in inspect.signature(c.__init__).parameters.values()]  # fmt: skip
    named = [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return [*dict.fromkeys(word for word in named if word != "self")]


def _adapted(id: str, game: Any, team: Callable[[Array], Array]) -> Env:
    agents = game.agents
    counts = [int(game.action_space(agent).n) for agent in agents]
    shapes, _ = jax.eval_shape(game.reset, jax.random.key(0))
    sizes = [shapes[agent].size for agent in agents]
    own = jnp.arange(max(counts)) < jnp.array(counts)[:, None]

    def observe(seen: Mapping[str, Array], state: PyTree) -> tuple[Array, Array, Array]:
        flat = [seen[agent].reshape(-1).astype(jnp.float32) for agent in agents]
        padded = jnp.stack([jnp.pad(obs, (0, max(sizes) - obs.size)) for obs in flat])
        whole = jnp.concatenate(flat)
        return padded, whole, _legal(id, game, state, own)

    def reset(key: PRNGKeyArray) -> tuple[PyTree, TimeStep]:
        seen, state = game.reset(key)
        return _strong(state), first_step(*observe(seen, state))

    def step(key: PRNGKeyArray, state: PyTree, action: Int[Array, "N"]) -> tuple[PyTree, TimeStep]:
        actions = {agent: action[i] for i, agent in enumerate(agents)}
        seen, after, reward, done, _ = game.step_env(key, state, actions)
        # what would have ended it in its first step, too, is more than the time limit
        at_once = game.step_env(key, state.replace(step=jnp.zeros_like(state.step)), actions)[3]
        over, no = done["__all__"], jnp.zeros((), bool)
        terminated = over & at_once["__all__"]
        each = jnp.stack([reward[agent] for agent in agents]).astype(jnp.float32)
        now = TimeStep(
            *observe(seen, after),
            reward=team(each),
            terminated=terminated,
            truncated=over & ~terminated,
            first=no,
            won=no,
        )
        return _strong(after), now

    spec = EnvSpec(
        name=f"jaxmarl/{id}",
        n_agents=len(agents),
        n_actions=max(counts),
        obs_size=max(sizes),
        state_size=sum(sizes),
        horizon=_horizon(id, game),
        has_win=False,
    )
    return Env(spec, reset, step)


def _legal(id: str, game: Any, state: PyTree, own: Array) -> Array:
    if id != "hanabi":
        return own
    legal = game.get_legal_moves(state)
    return jnp.stack([legal[agent] for agent in game.agents]).astype(bool)


def _horizon(id: str, game: Any) -> int:
    """The most transitions of an episode."""
    if id == "hanabi":  # a move draws a card or spends a token, which only such a move gives back
        draws = int(game.deck_size) - game.num_agents * game.hand_size + game.num_agents
        return 2 * draws + int(game.max_info_tokens) + int(game.num_colors)
    tests_limit_first = id.startswith("MPE")  # before it counts the step
    return int(game.max_steps) + tests_limit_first


def _strong(state: PyTree) -> PyTree:
    """Weakly typed leaves would make whatever carries the state compile twice."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(jnp.asarray(leaf).dtype), state)
