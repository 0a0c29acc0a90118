"""Predators learn to catch scripted prey in the plane: FACMAC's continuous predator-prey.

Rules of Peng et al., "FACMAC: Factored Multi-Agent Centralised Policy Gradients"
(arXiv 2003.06709), on the particle physics of Lowe et al. (arXiv 1706.02275), with the predators'
force chosen among five actions. Lengths are those of the arena (-1, 1)², time is in seconds.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from knife_jax.config.scenarios import N_PREDATORS
from knife_jax.envs.base import Env, EnvSpec, TimeStep, first_step, vectorise
from knife_jax.envs.tasks import Tasks, single
from knife_jax.envs.view import Arena, Body, Kind, Scene, View
from knife_jax.types import PyTree

PREDATOR_RADIUS, PREY_RADIUS, LANDMARK_RADIUS = 0.075, 0.05, 0.2
PREDATOR_MAX_SPEED, PREY_MAX_SPEED = 1.0, 1.3
PREDATOR_FORCE = 3.0
DT, DAMPING = 0.1, 0.25
CONTACT_FORCE, CONTACT_MARGIN = 100.0, 1e-3
VIEW_RADIUS = 1.5
AWAY = 100.0
"""position of obstacles that a task does not have: out of reach and out of sight"""
TIME_LIMIT = 25
N_POINTS = 100
"""candidate points per prey and step"""
DIRECTIONS = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
"""the direction of force of each action; all are always available"""
ACTIONS = ("none", "right", "left", "up", "down")


class Pursuit(NamedTuple):
    """The numbers of one game, all of which may differ from task to task, and be traced."""

    prey_force: float = 1.0
    """greatest force of a prey: 1 takes it to a speed of 0.4, and 1.3 is its limit"""
    n_obstacles: int = 6
    """how many of the landmarks there are, at most"""
    catch: float = 10.0
    """reward for every pair of a predator and a prey that overlap after the step"""
    distance: float = 0.0
    """reward for the mean distance of a prey from the nearest predator"""


class World(NamedTuple):
    """Positions and velocities. Movers M are the N predators, then the P prey; L landmarks stay."""

    position: Float[Array, "M 2"]
    velocity: Float[Array, "M 2"]
    landmark: Float[Array, "L 2"]
    steps: Int[Array, ""]


def make(n_predators: int) -> Tasks:
    """The game with its published numbers, as a task of training."""
    return single(partial(vectorise, predator_prey(n_predators)))


def predator_prey(n_predators: int, pursuit: Pursuit = Pursuit()) -> Env:  # noqa: B008
    """3, 6 or 9 predators after 1, 2 or 3 prey among 2, 4 or 6 landmarks.

    The team's reward is 10 for every pair of a predator and a prey that overlap after the step,
    unless ``pursuit`` says otherwise. Episodes never terminate; they are truncated after 25
    transitions. The state is all agents' observations, one after the other. There is no winning.

    Raises ValueError for any other number of predators.
    """
    if n_predators not in N_PREDATORS:
        allowed = ", ".join(map(str, N_PREDATORS))
        raise ValueError(f"predator-prey has {allowed} predators, not {n_predators}")
    n_prey = n_predators // 3
    n_movers, n_landmarks = n_predators + n_prey, 2 * n_prey
    radius = np.array([PREDATOR_RADIUS] * n_predators + [PREY_RADIUS] * n_prey, np.float32)
    max_speed = np.array([PREDATOR_MAX_SPEED] * n_predators + [PREY_MAX_SPEED] * n_prey, np.float32)
    avail_actions = np.ones((n_predators, len(DIRECTIONS)), bool)

    def reset(key: PRNGKeyArray) -> tuple[World, TimeStep]:
        mover_key, landmark_key = jax.random.split(key)
        present = jnp.arange(n_landmarks)[:, None] < pursuit.n_obstacles
        landmark = jax.random.uniform(landmark_key, (n_landmarks, 2), minval=-0.9, maxval=0.9)
        world = World(
            position=jax.random.uniform(mover_key, (n_movers, 2), minval=-1.0, maxval=1.0),
            velocity=jnp.zeros((n_movers, 2)),
            landmark=jnp.where(present, landmark, AWAY),
            steps=jnp.zeros((), jnp.int32),
        )
        obs = observe(world, n_predators)
        return world, first_step(obs, obs.reshape(-1), jnp.asarray(avail_actions))

    def step(key: PRNGKeyArray, world: World, action: Int[Array, "N"]) -> tuple[World, TimeStep]:
        predators, prey = world.position[:n_predators], world.position[n_predators:]
        flee = pursuit.prey_force * flight(prey, predators, sample_points(key, n_prey))
        push = PREDATOR_FORCE * jnp.asarray(DIRECTIONS)[action]
        world = move(world, jnp.concatenate([push, flee]), radius, max_speed)
        obs = observe(world, n_predators)
        apart = distances(world.position, n_predators)
        reward = pursuit.catch * jnp.sum(catches(apart))
        no = jnp.zeros((), bool)
        now = TimeStep(
            obs=obs,
            state=obs.reshape(-1),
            avail_actions=jnp.asarray(avail_actions),
            reward=reward + pursuit.distance * jnp.mean(jnp.min(apart, axis=0)),
            terminated=no,
            truncated=world.steps >= TIME_LIMIT,
            first=no,
            won=no,
        )
        return world, now

    obs_size = 4 + 2 * n_landmarks + 2 * (n_movers - 1) + 2 * n_prey
    spec = EnvSpec(
        name=f"mpe_predator_prey/{n_predators}",
        n_agents=n_predators,
        n_actions=len(DIRECTIONS),
        obs_size=obs_size,
        state_size=n_predators * obs_size,
        horizon=TIME_LIMIT,
        has_win=False,
    )
    return Env(spec, reset, step, pursuit_view(n_predators))


def sample_points(key: PRNGKeyArray, n_prey: int) -> Float[Array, "P K 2"]:
    """Points uniform in the unit disc, independent for every prey.

    A 32-bit number makes one: half of it the squared radius, half the angle. Drawing two and asking
    for sine and cosine takes four times as long on a CPU, most of a step.
    """
    bits = jax.random.bits(key, (n_prey, N_POINTS))
    radius = jnp.sqrt((bits >> 16).astype(jnp.float32) * np.float32(2**-16))
    return radius[..., None] * directions(bits & 0xFFFF)


def directions(turn: UInt32[Array, "*any"]) -> Float[Array, "*any 2"]:
    """Unit vectors at ``turn`` of 2¹⁶ equal steps around the circle from south-east, to 4e-7.

    Power series on the eighth of a turn to both sides of an axis, then the axis.
    """
    quarter, rest = turn >> 14, (turn & 0x3FFF).astype(jnp.float32)
    angle = rest * np.float32(np.pi / 2**15) - np.float32(np.pi / 4)
    square = angle * angle
    sine = angle * (1 + square * (-1 / 6 + square * (1 / 120 - square / 5040)))
    cosine = 1 + square * (-1 / 2 + square * (1 / 24 + square * (-1 / 720 + square / 40320)))
    swapped, turned = quarter % 2 == 1, quarter >= 2
    x, y = jnp.where(swapped, -sine, cosine), jnp.where(swapped, cosine, sine)
    return jnp.where(turned[..., None], -1.0, 1.0) * jnp.stack([x, y], axis=-1)


def flight(
    prey: Float[Array, "P 2"], predators: Float[Array, "N 2"], points: Float[Array, "P K 2"]
) -> Float[Array, "P 2"]:
    """The force of each prey: towards the point furthest from the predator now nearest to it.

    ``points`` are relative to the prey. Points at which it would overlap a predator are excluded;
    a prey without any other stays put. (FACMAC's score function "min".)
    """
    nearest = jnp.argmin(_square(prey[:, None] - predators), axis=1)
    away = _square((prey[:, None] + points)[:, :, None] - predators)
    blocked = jnp.any(away < (PREDATOR_RADIUS + PREY_RADIUS) ** 2, axis=2)
    score = jnp.take_along_axis(away, nearest[:, None, None], axis=2)[..., 0]
    score = jnp.where(blocked, -1.0, score)
    best = jnp.argmax(score, axis=1)
    chosen = jnp.take_along_axis(points, best[:, None, None], axis=1)[:, 0]
    return jnp.where(jnp.all(blocked, axis=1)[:, None], 0.0, chosen)


def move(
    world: World,
    force: Float[Array, "M 2"],
    radius: Float[np.ndarray, "M"],
    max_speed: Float[np.ndarray, "M"],
) -> World:
    """One time step: contact forces from the positions, then velocity, then position."""
    n_movers = len(radius)
    entity = jnp.concatenate([world.position, world.landmark])
    reach = np.concatenate([radius, np.full(len(world.landmark), LANDMARK_RADIUS, np.float32)])
    apart = world.position[:, None] - entity
    distance = _length(apart)
    depth = CONTACT_MARGIN * jax.nn.softplus((radius[:, None] + reach - distance) / CONTACT_MARGIN)
    other = np.arange(len(reach)) != np.arange(n_movers)[:, None]
    strength = jnp.where(other, CONTACT_FORCE * depth / jnp.maximum(distance, 1e-9), 0.0)
    force = force + jnp.sum(strength[..., None] * apart, axis=1)

    velocity = (1 - DAMPING) * world.velocity + force * DT
    velocity = velocity * (max_speed / jnp.maximum(_length(velocity), max_speed))[:, None]
    return World(world.position + velocity * DT, velocity, world.landmark, world.steps + 1)


def distances(position: Float[Array, "M 2"], n_predators: int) -> Float[Array, "N P"]:
    """The distance of each predator from each prey."""
    return _length(position[:n_predators, None] - position[n_predators:])


def catches(distance: Float[Array, "N P"]) -> Bool[Array, "N P"]:
    """Which predator overlaps which prey."""
    return distance < PREDATOR_RADIUS + PREY_RADIUS


def observe(world: World, n_predators: int) -> Float[Array, "N O"]:
    """What each predator sees: own velocity and position, landmarks, the others, prey velocities.

    Positions of others are relative to the predator. Whatever is beyond the view radius, each
    thing on its own, is zeros.
    """
    own = world.position[:n_predators, None]
    to_landmark, to_mover = world.landmark - own, world.position - own
    sees_landmark, sees_mover = (_length(to) <= VIEW_RADIUS for to in (to_landmark, to_mover))
    movers = jnp.where(sees_mover[..., None], to_mover, 0.0)
    before_self = np.arange(movers.shape[1] - 1) < np.arange(n_predators)[:, None]
    parts = (
        world.velocity[:n_predators],
        world.position[:n_predators],
        jnp.where(sees_landmark[..., None], to_landmark, 0.0),
        jnp.where(before_self[..., None], movers[:, :-1], movers[:, 1:]),
        jnp.where(sees_mover[:, n_predators:, None], world.velocity[n_predators:], 0.0),
    )
    return jnp.concatenate([part.reshape(n_predators, -1) for part in parts], axis=1)


def _square(vector: Float[Array, "*any 2"]) -> Float[Array, "*any"]:
    return jnp.sum(vector * vector, axis=-1)


def _length(vector: Float[Array, "*any 2"]) -> Float[Array, "*any"]:
    return jnp.sqrt(_square(vector))


def pursuit_view(n_predators: int) -> View:
    """The plane with predators, prey and landmarks; a predator's target is the prey it overlaps."""
    n_prey = n_predators // 3
    kinds = (
        Kind("predator", PREDATOR_RADIUS, VIEW_RADIUS),
        Kind("prey", PREY_RADIUS),
        Kind("landmark", LANDMARK_RADIUS),
    )
    bodies = (
        *(Body(f"predator {i + 1}", "agent", 0) for i in range(n_predators)),
        *(Body(f"prey {i + 1}", "prey", 1) for i in range(n_prey)),
        *(Body(f"landmark {i + 1}", "obstacle", 2) for i in range(2 * n_prey)),
    )

    def look(world: PyTree, now: TimeStep) -> Scene:
        del now
        position = jnp.concatenate([world.position, world.landmark])
        velocity = jnp.concatenate([world.velocity, jnp.zeros_like(world.landmark)])
        caught = catches(distances(world.position, n_predators))
        prey = jnp.where(jnp.any(caught, axis=1), n_predators + jnp.argmax(caught, axis=1), -1)
        return {
            "x": position[:, 0], "y": position[:, 1], "vx": velocity[:, 0], "vy": velocity[:, 1],
            "present": position[:, 0] < AWAY,
            "target": jnp.concatenate([prey, jnp.full(3 * n_prey, -1)]),
        }  # fmt: skip

    return View(ACTIONS, Arena(-1.0, -1.0, 1.0, 1.0, kinds, bodies), look)
