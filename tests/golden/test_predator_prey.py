"""Predator-prey against its rules stated again in NumPy loops, and against hand numbers."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.envs import predator_prey as pp

SIZES = (3, 6)
sample_points = jax.jit(pp.sample_points, static_argnums=1)
flight = jax.jit(pp.flight)


@cache
def compiled(n, *pursuit):
    """The environment, and its functions as programs."""
    env = pp.predator_prey(n, *pursuit)
    return env, jax.jit(env.reset), jax.jit(env.step)


def reference_step(position, velocity, landmark, action, points):
    """One step in float64: [M, 2], [M, 2], [L, 2], [N], [P, 100, 2] -> position, velocity."""
    n, p = len(action), len(points)
    size = [0.075] * n + [0.05] * p + [0.2] * len(landmark)
    top = [1.0] * n + [1.3] * p
    place = [*position, *landmark]
    force = []
    for choice in action:
        unit = {0: (0, 0), 1: (1, 0), 2: (-1, 0), 3: (0, 1), 4: (0, -1)}[int(choice)]
        force.append(3.0 * np.array(unit, float))
    for k in range(p):
        here = position[n + k]
        gaps = [np.hypot(*(here - position[i])) for i in range(n)]
        hunter = position[int(np.argmin(gaps))]
        best, chosen = -np.inf, np.zeros(2)
        for point in points[k]:
            there = here + point
            if any(np.hypot(*(there - position[i])) < 0.125 for i in range(n)):
                continue
            gap = np.hypot(*(there - hunter))
            if gap > best:
                best, chosen = gap, point
        force.append(np.array(chosen, float))
    for a in range(n + p):
        for b in range(len(place)):
            if a != b:
                delta = place[a] - place[b]
                gap = np.hypot(*delta)
                overlap = np.logaddexp(0.0, (size[a] + size[b] - gap) / 1e-3) * 1e-3
                force[a] = force[a] + 100.0 * overlap * delta / gap
    moved = []
    for a in range(n + p):
        v = velocity[a] * 0.75 + force[a] * 0.1
        speed = np.hypot(*v)
        if speed > top[a]:
            v = v / speed * top[a]
        moved.append((position[a] + v * 0.1, v))
    return np.array([x for x, _ in moved]), np.array([v for _, v in moved])


def reference_obs(position, velocity, landmark, n):
    rows = []
    for i in range(n):

        def seen(what, to, i=i):
            return what if np.hypot(*(to - position[i])) <= 1.5 else np.zeros(2)

        row = [velocity[i], position[i]]
        row += [seen(at - position[i], at) for at in landmark]
        row += [
            seen(position[j] - position[i], position[j]) for j in range(len(position)) if j != i
        ]
        row += [seen(velocity[j], position[j]) for j in range(n, len(position))]
        rows.append(np.concatenate(row))
    return np.array(rows)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("spread", [1.0, 0.3], ids=["as started", "crowded"])
def test_every_step_is_the_reference_step(key, n, spread):
    _, reset, step = compiled(n)
    world, _ = reset(key)
    world = world._replace(position=world.position * spread)
    caught, rng = 0, np.random.default_rng(n)
    for t in range(25):
        step_key = jax.random.fold_in(key, t)
        action = rng.integers(0, 5, n, np.int32)
        points = np.asarray(sample_points(step_key, n // 3), float)
        before = [np.asarray(leaf, float) for leaf in (world.position, world.velocity)]
        landmark = np.asarray(world.landmark, float)
        expected = reference_step(*before, landmark, action, points)
        world, row = step(step_key, world, jnp.asarray(action))
        np.testing.assert_allclose(world.position, expected[0], atol=2e-5)
        np.testing.assert_allclose(world.velocity, expected[1], atol=2e-4)
        position, velocity = np.asarray(world.position), np.asarray(world.velocity)
        obs = reference_obs(position, velocity, landmark, n)
        np.testing.assert_allclose(row.obs, obs, atol=1e-6)
        np.testing.assert_array_equal(row.state, np.asarray(row.obs).reshape(-1))
        pairs = [(a, b) for a in position[:n] for b in position[n:]]
        overlaps = sum(np.hypot(*(a - b)) < 0.125 for a, b in pairs)
        assert float(row.reward) == 10.0 * overlaps
        caught += overlaps
    assert caught > 0 or spread == 1.0


@pytest.mark.parametrize(
    ("n", "obs", "movers", "landmarks"), [(3, 16, 4, 2), (6, 30, 8, 4), (9, 44, 12, 6)]
)
def test_sizes_and_starts(key, n, obs, movers, landmarks):
    env = pp.predator_prey(n)
    assert env.spec.obs_size == obs and env.spec.state_size == n * obs
    assert env.spec.n_actions == 5 and env.spec.horizon == 25 and not env.spec.has_win
    world, row = jax.jit(jax.vmap(env.reset))(jax.random.split(key, 499))
    assert world.position.shape[1:] == (movers, 2) and world.landmark.shape[1:] == (landmarks, 2)
    assert 0.99 < jnp.max(jnp.abs(world.position)) <= 1.0
    assert 0.89 < jnp.max(jnp.abs(world.landmark)) <= 0.9
    assert not jnp.any(world.velocity) and jnp.all(row.avail_actions)


def test_points_are_uniform_in_the_disc_and_differ_between_prey(key):
    points = jax.vmap(lambda k: pp.sample_points(k, 3))(jax.random.split(key, 499))
    assert points.shape == (499, 3, 100, 2)
    assert not jnp.any(points[:, 0] == points[:, 1])
    flat = np.asarray(points).reshape(-1, 2)
    radius = np.hypot(*flat.T)
    assert radius.max() <= 1.0 + 1e-6
    # of a uniform disc: half the points within 1/sqrt(2), a quarter in each quadrant
    assert abs(np.mean(radius < np.sqrt(0.5)) - 0.5) < 0.01
    for sign in [(1, 1), (1, -1), (-1, 1), (-1, -1)]:
        assert abs(np.mean(np.all(flat * sign > 0, axis=1)) - 0.25) < 0.01


def test_directions_go_once_around_the_circle():
    turn = np.arange(2**16)
    angle = 2 * np.pi * turn / 2**16 - np.pi / 4
    expected = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    np.testing.assert_allclose(pp.directions(jnp.uint32(turn)), expected, rtol=0, atol=4e-7)


@pytest.mark.parametrize("gap", [0.2, 0.5, 0.9, 1.5])
def test_prey_runs_from_the_only_near_predator(key, gap):
    prey = jnp.zeros((1, 2))
    predators = jnp.array([[9.0, 9.0], [gap, 0.0], [9.0, -9.0]])
    force = jax.jit(jax.vmap(lambda k: pp.flight(prey, predators, pp.sample_points(k, 1))[0]))(
        jax.random.split(key, 199)
    )
    assert jnp.all(force[:, 0] < -0.5)
    assert jnp.mean(force[:, 0]) < -0.9
    assert jnp.all(jnp.linalg.norm(force, axis=1) <= 1.0 + 1e-6)


def test_each_prey_runs_from_its_own_nearest_predator(key):
    prey = jnp.array([[-3.0, 0.0], [3.0, 0.0]])
    predators = jnp.array([[-3.4, 0.0], [3.4, 0.0]])
    force = flight(prey, predators, sample_points(key, 2))
    assert force[0, 0] > 0.8 and force[1, 0] < -0.8


def test_prey_does_not_jump_onto_a_predator_and_stays_if_it_must():
    prey, predators = jnp.zeros((1, 2)), jnp.array([[0.2, 0.0], [-0.9, 0.0]])
    points = jnp.zeros((1, 2, 2)).at[0].set([[-0.9, 0.1], [0.0, 0.5]])
    np.testing.assert_array_equal(flight(prey, predators, points), [[0.0, 0.5]])
    blocked = jnp.zeros((1, 2, 2)).at[0].set([[-0.9, 0.1], [0.2, 0.1]])
    np.testing.assert_array_equal(flight(prey, predators, blocked), [[0.0, 0.0]])


def far_world(position, velocity):
    landmark = jnp.array([[50.0, 50.0], [60.0, 60.0]])
    return pp.World(jnp.array(position), jnp.array(velocity), landmark, jnp.zeros((), jnp.int32))


RADIUS, MAX_SPEED = np.float32([0.075, 0.075, 0.05]), np.float32([1.0, 1.0, 1.3])


def test_free_motion_by_hand():
    world = far_world([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]], np.zeros((3, 2)))
    force = jnp.array([[3.0, 0.0], [0.0, -3.0], [0.6, -0.8]])
    world = pp.move(world, force, RADIUS, MAX_SPEED)
    np.testing.assert_allclose(world.velocity, [[0.3, 0], [0, -0.3], [0.06, -0.08]], rtol=1e-6)
    np.testing.assert_allclose(
        world.position, [[0.03, 0], [10, -0.03], [20.006, -0.008]], rtol=1e-6
    )
    world = pp.move(world, force, RADIUS, MAX_SPEED)
    np.testing.assert_allclose(world.velocity[0], [0.525, 0], rtol=1e-6)
    np.testing.assert_allclose(world.position[0], [0.0825, 0], rtol=1e-6)
    assert int(world.steps) == 2


def test_a_collision_by_hand():
    # 0.05 too close: a force of 5 each way, so 0.5 of speed and 0.05 of way
    world = far_world([[0.0, 0.0], [0.1, 0.0], [20.0, 0.0]], np.zeros((3, 2)))
    world = pp.move(world, jnp.zeros((3, 2)), RADIUS, MAX_SPEED)
    np.testing.assert_allclose(world.velocity, [[-0.5, 0], [0.5, 0], [0, 0]], atol=1e-5)
    np.testing.assert_allclose(world.position[:2], [[-0.05, 0], [0.15, 0]], atol=1e-6)


def test_a_landmark_pushes_and_stays():
    world = far_world([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]], np.zeros((3, 2)))
    world = world._replace(landmark=jnp.array([[0.0, 0.225], [60.0, 60.0]]))
    after = pp.move(world, jnp.zeros((3, 2)), RADIUS, MAX_SPEED)
    np.testing.assert_allclose(after.velocity[0], [0.0, -0.5], atol=1e-5)
    np.testing.assert_array_equal(after.landmark, world.landmark)


def test_speeds_are_clipped_by_length():
    world = far_world([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]], [[1.0, 0.0], [0.6, 0.8], [1.2, 0.5]])
    force = jnp.array([[3.0, 0.0], [3.0, 4.0], [12.0, 5.0]])
    after = pp.move(world, force, RADIUS, MAX_SPEED)
    np.testing.assert_allclose(after.velocity, [[1, 0], [0.6, 0.8], [1.2, 0.5]], rtol=1e-6)


def test_each_thing_is_seen_or_not_on_its_own():
    world = far_world([[0.0, 0.0], [1.4, 0.0], [0.0, 1.6], [0.0, -1.6]], np.ones((4, 2)))
    world = world._replace(landmark=jnp.array([[0.0, 1.5], [1.2, 1.2]]))
    obs = pp.observe(world, 3)[0]
    np.testing.assert_allclose(obs, [1, 1, 0, 0, 0, 1.5, 0, 0, 1.4, 0, 0, 0, 0, 0, 0, 0], rtol=1e-6)


def test_the_team_is_paid_for_every_overlapping_pair():
    at = jnp.array(
        [[0.0, 0.0], [0.1, 0.0], [0.0, 0.13], *[[5.0, 5.0]] * 3, [0.05, 0.0], [0.0, 0.1]]
    )
    overlaps = pp.catches(pp.distances(at, 6))
    assert overlaps.shape == (6, 2)
    np.testing.assert_array_equal(np.argwhere(overlaps), [[0, 0], [0, 1], [1, 0], [2, 1]])


def test_an_episode_is_cut_after_25_transitions(key):
    _, reset, step = compiled(3)
    world, row = reset(key)
    cuts = []
    for t in range(25):
        assert not row.last
        world, row = step(jax.random.fold_in(key, t), world, jnp.array([1, 0, 4]))
        cuts.append(bool(row.truncated))
        assert not row.terminated and not row.won
    assert cuts == [False] * 24 + [True]


def test_tasks_change_speed_obstacles_and_rewards(key):
    """The same draws in another game: what each number does, and nothing else."""
    both = compiled(3), compiled(3, pp.Pursuit(2.5, 1, 1.0, -0.5))
    (world, _), (changed, row_changed) = (reset(key) for _, reset, _ in both)
    np.testing.assert_array_equal(changed.position, world.position)
    np.testing.assert_array_equal(changed.landmark, [world.landmark[0], [pp.AWAY] * 2])
    np.testing.assert_array_equal(row_changed.obs[:, 6:8], np.zeros((3, 2)))
    apart = far_world([[0.0, 0.0], [0.0, 3.0], [0.0, -3.0], [0.3, 0.0]], np.zeros((4, 2)))
    stay = jnp.zeros(3, jnp.int32)
    (slow, _), (fast, paid) = (step(key, apart, stay) for _, _, step in both)
    np.testing.assert_allclose(fast.velocity[3], 2.5 * slow.velocity[3], rtol=1e-6)
    nearest = np.linalg.norm(fast.position[3] - fast.position[0])
    assert float(paid.reward) == pytest.approx(-0.5 * nearest)


def test_other_numbers_of_predators_are_refused():
    with pytest.raises(ValueError, match="3, 6, 9"):
        pp.predator_prey(4)
