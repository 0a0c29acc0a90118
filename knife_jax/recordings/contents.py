"""A recording as what its page shows: a header, and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from knife_jax.envs.base import EnvSpec
from knife_jax.envs.view import Arena, View
from knife_jax.plasticity.stats import DORMANT
from knife_jax.recordings.marks import Marks, Team, marks_of
from knife_jax.recordings.pack import Arrays
from knife_jax.training.recorder import MEMORY, Recorded


class About(NamedTuple):
    """What a recording says of itself."""

    title: str
    subtitle: str
    """which policy plays"""
    note: str
    """which episodes these are"""
    gamma: float
    reward_scale: float
    stagnant: float
    """the update activity, relative to its layer's mean, below which a neuron is stagnant"""


def contents(
    recorded: Recorded, spec: EnvSpec, view: View | None, team: Team, about: About
) -> bytes:
    """Pack all that the page shows of the recorded episodes.

    Numbers are kept exactly, but for activities and observations: these in 256 steps.
    """
    arrays = Arrays()
    marks = marks_of(team, recorded.mean_activity, about.stagnant)
    activity = recorded.decisions.activity
    lengths = recorded.episodes.lengths[: recorded.decisions.q_tot.shape[1]]
    bounds = {name: _bound(h, lengths) for name, h in activity.items()}
    names = sorted(activity, key=lambda name: (name.split("/")[0] != "agent", name == MEMORY, name))
    header = {
        "title": about.title,
        "subtitle": about.subtitle,
        "note": about.note,
        "actions": action_names(spec, view),
        "agents": agent_names(spec, view),
        "stage": _stage(view),
        "thresholds": {"stagnant": about.stagnant, "dormant": DORMANT},
        "layers": [_layer(name, marks[name], activity[name].shape) for name in names],
        "episodes": [
            _episode(recorded, k, names, bounds, arrays, about) for k in range(len(lengths))
        ],
    }
    return arrays.packed(header)


def action_names(spec: EnvSpec, view: View | None) -> list[str]:
    """The names of the actions, numbers where the environment gives none."""
    return [*view.actions] if view is not None else [str(i) for i in range(spec.n_actions)]


def agent_names(spec: EnvSpec, view: View | None) -> list[str]:
    """The names of the agents."""
    if view is not None and isinstance(view.stage, Arena):
        return [body.name for body in view.stage.bodies[: spec.n_agents]]
    return [f"agent {i + 1}" for i in range(spec.n_agents)]


def discounted(reward: Any, gamma: float, scale: float = 1.0) -> np.ndarray:
    """The scaled, discounted return that follows each step: what Q_tot is an estimate of."""
    followed = np.zeros(len(reward) + 1)
    for t in reversed(range(len(reward))):
        followed[t] = scale * float(reward[t]) + gamma * followed[t + 1]
    return followed[:-1].astype(np.float32)


def _bound(h: Any, lengths: Any) -> float:
    rows = [np.abs(h[:n, k]).max(initial=0.0) for k, n in enumerate(lengths)]
    return float(max(rows, default=0.0))


def _stage(view: View | None) -> dict[str, Any]:
    if view is None:
        return {"type": "observations"}
    if not isinstance(view.stage, Arena):
        return {"type": "payoffs", "states": view.stage.states}
    stage = view.stage._asdict()
    stage["kinds"] = [kind._asdict() for kind in view.stage.kinds]
    stage["bodies"] = [body._asdict() for body in view.stage.bodies]
    return {"type": "arena", **stage}


def rounded(number: float | np.floating) -> float | None:
    """Four digits; None for NaN, what was not measured."""
    return None if np.isnan(number) else round(float(number), 4)


def _layer(name: str, marks: Marks, shape: tuple[int, ...]) -> dict[str, Any]:
    network, _, layer = name.partition("/")
    score = marks.update_activity
    return {
        "name": f"{network} {layer}".replace("_", " "),
        "each_agent": len(shape) > 3,
        "signed": name == MEMORY,
        "width": shape[-1],
        "measured": score is not None,
        "update_activity": [] if score is None else [rounded(x) for x in score],
        "activation": [round(float(x), 4) for x in marks.activation],
        "stagnant": marks.stagnant,
        "dormant": marks.dormant,
        "grafts": None if marks.grafts is None else np.asarray(marks.grafts).tolist(),
    }


def _episode(
    recorded: Recorded,
    k: int,
    names: list[str],
    bounds: Mapping[str, float],
    arrays: Arrays,
    about: About,
) -> dict[str, Any]:
    episodes, said = recorded.episodes, recorded.decisions
    n = int(episodes.lengths[k])
    reward = said.reward[:n, k]
    coarse = "obs" in recorded.scenes

    def scene(leaf: Any) -> dict[str, Any]:
        rows = np.asarray(leaf[: n + 1, k])
        if coarse:
            return arrays.put_coarse(rows, float(rows.min()), float(rows.max()))
        return arrays.put(rows)

    def strip(name: str) -> dict[str, Any]:
        h, most = said.activity[name][:n, k], bounds[name]
        rows = np.reshape(h, (n, -1, h.shape[-1]))
        return arrays.put_coarse(rows, -most if name == MEMORY else 0.0, most)

    return {
        "length": n,
        "return": float(str(episodes.returns[k])),
        "won": bool(episodes.won[k]),
        "whole": bool(episodes.whole[k]),
        "scene": {name: scene(leaf) for name, leaf in recorded.scenes.items()},
        "available": arrays.put(said.avail_actions[:n, k]),
        "action": arrays.put(said.action[:n, k]),
        "values": arrays.put(said.values[:n, k]),
        "q_tot": arrays.put(said.q_tot[:n, k]),
        "reward": arrays.put(reward),
        "followed": arrays.put(discounted(reward, about.gamma, about.reward_scale)),
        "activity": [strip(name) for name in names],
    }
