"""Games outside of jax, played by NumPy in this process: one call for all seeds, in order."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.config.schema import ConfigError
from knife_jax.envs.base import EnvSpec, TimeStep
from knife_jax.envs.outside import outside
from knife_jax.training.evaluator import evaluate
from knife_jax.training.learner import Learner
from knife_jax.training.rollout import rollout, start

N, A, E = 2, 3, 5
SPEC = EnvSpec("counting", N, A, obs_size=4, state_size=3, horizon=7, has_win=True)
FAULT = 11
"""a game whose secret is a multiple of it breaks off after two steps"""


class Seat:
    def __init__(self):
        self.turn, self.task, self.key, self.first = 0, 0, (0, 0), 0
        self.episode, self.t, self.ended = np.zeros(E, int), np.zeros(E, int), np.zeros(E, bool)


class Counting:
    """Guess a secret at each step. Episodes last as long as the secret says."""

    def __init__(self, seats=3, waits=False):
        self.seats, self.next, self.waits = [Seat() for _ in range(seats)], 0, waits
        self.calls, self.wrong, self.begun = [], [], []

    def secret(self, seat, j):
        seed = [*map(int, seat.key), seat.first + j, seat.episode[j], seat.task]
        return int(np.random.default_rng(seed).integers(1000))

    def length(self, seat, j):
        return 3 + self.secret(seat, j) % 5

    def row(self, seat, j, reward=0.0, first=False):
        secret, t = self.secret(seat, j), seat.t[j]
        last = t == self.length(seat, j)
        obs = np.array([[secret, t, seat.task, i] for i in range(N)], np.float32)
        avail = np.ones((N, A), bool)
        avail[0, secret % A] = last
        ended, won = last and secret % 2 == 0, last and secret % 3 == 0
        state = np.array([secret, t, seat.episode[j]], np.float32)
        return obs, state, avail, np.float32(reward), ended, last and not ended, first, won

    def reset(self, task, seat, turn, key, first):
        self.calls.append(("reset", len(task)))
        taken = []
        for b in range(len(task)):
            at = seat[b] if seat[b] >= 0 else self.next
            self.next = (self.next + (seat[b] < 0)) % len(self.seats)
            place, taken = self.seats[at], [*taken, at]
            if seat[b] >= 0 and turn[b] != place.turn:
                self.wrong.append((int(turn[b]), place.turn))
            place.task, place.key, place.first = int(task[b]), key[b], int(first[b])
            place.episode[:], place.t[:], place.ended[:] = 0, 0, False
            place.turn += 1
            self.begun += [(tuple(map(int, key[b])), int(first[b]) + j) for j in range(E)]
        rows = [[self.row(self.seats[at], j, first=True) for j in range(E)] for at in taken]
        turns = np.array([self.seats[at].turn for at in taken], np.int32)
        return np.array(taken, np.int32), turns, stacked(rows)

    def step(self, task, seat, turn, action):
        self.calls.append(("step", len(task)))
        rows = []
        for b in range(len(task)):
            place = self.seats[seat[b]]
            if turn[b] != place.turn:
                self.wrong.append((int(turn[b]), place.turn))
            place.turn += 1
            switched, place.task = task[b] != place.task, int(task[b])
            rows.append([self.stepped(place, j, action[b, j], switched) for j in range(E)])
        turns = np.array([self.seats[at].turn for at in seat], np.int32)
        return turns, stacked(rows)

    def stepped(self, seat, j, action, switched):
        broken = self.secret(seat, j) % FAULT == 0 and seat.t[j] == 2
        if seat.ended[j] and self.waits and not switched:
            return (*self.row(seat, j, first=True)[:4], False, False, True, False)
        if seat.ended[j] or broken or switched:
            seat.episode[j] += 1
            seat.t[j], seat.ended[j] = 0, False
            return self.row(seat, j, first=True)
        guess = self.secret(seat, j) % A == action[1]
        seat.t[j] += 1
        seat.ended[j] = seat.t[j] == self.length(seat, j)
        return self.row(seat, j, reward=guess)


def stacked(rows):
    return TimeStep(*(np.array([[row[f] for row in seat] for seat in rows]) for f in range(8)))


def act(variables, carry, now, last_action, key=None):
    return carry + 1, jnp.sin(jnp.arange(A) * (1 + now.obs[..., :1] + now.obs[..., 1:2]))


def play(host, key, steps=60, task=0):
    env = outside(SPEC, E, host, task)
    actor = start(env, jnp.zeros((E, N, 1)), key)
    return rollout(env, act, {}, actor, jnp.float32(0.3), jax.random.fold_in(key, 1), steps)


KEYS = jax.random.split(jax.random.key(3), 3)


def equal(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def test_seeds_under_vmap_are_separate_runs_in_one_call_a_step():
    together = Counting()
    actors, windows, sums = jax.jit(jax.vmap(lambda key: play(together, key)))(KEYS)
    assert together.calls == [("reset", 3)] + [("step", 3)] * 60 and together.wrong == []
    assert sums.breaches.keys() and not any(map(np.any, sums.breaches.values()))
    for s, key in enumerate(KEYS):
        alone = Counting()
        one = jax.jit(lambda key, host=alone: play(host, key))(key)
        pick = jax.tree.map(lambda leaf, s=s: leaf[s], (windows, sums))
        assert equal(pick, one[1:]) and alone.calls == [("reset", 1)] + [("step", 1)] * 60
    assert actors.env.seat.tolist() == [0, 1, 2] and actors.env.turn.tolist() == [61] * 3


def test_no_transition_leads_from_one_episode_into_another():
    """The rows of the windows, against the games': an episode that breaks off loses its last."""
    _, windows, sums = jax.jit(lambda key: play(Counting(), key))(KEYS[0])
    secret, t, episode = np.moveaxis(np.asarray(windows.state), -1, 0)
    ended = np.zeros(E)
    for at, j in np.ndindex(windows.valid.shape):
        goes_on = episode[at + 1, j] == episode[at, j]
        assert windows.valid[at, j] == goes_on and windows.first[at, j] == (t[at, j] == 0)
        if goes_on:
            assert t[at + 1, j] == t[at, j] + 1 and secret[at + 1, j] == secret[at, j]
            guess = windows.action[at, j, 1] == secret[at, j] % A
            assert windows.reward[at, j] == guess
            ended[j] += t[at + 1, j] == 3 + secret[at, j] % 5
    breaks = (secret % FAULT == 0)[:-1] & (t[:-1] == 2) & (t[1:] == 0)
    assert breaks.sum() > 0 and sums.episodes == ended.sum() > 0
    lengths = [3 + s % 5 for s, u in zip(secret.ravel(), t.ravel(), strict=True) if u == 3 + s % 5]
    assert sums.length in (sum(lengths), sum(lengths) - sum(3 + secret[0] % 5 * (t[0] == 9)))


def test_a_game_that_has_ended_waits_for_its_round():
    host = Counting(waits=True)

    def rounds(key):
        env = outside(SPEC, E, host, 0)
        actor = start(env, jnp.zeros((E, N, 1)), key)
        seen = []
        for part in range(2):
            actor = start(env, jnp.zeros((E, N, 1)), jax.random.fold_in(key, part), actor.env)
            actor, windows, sums = rollout(
                env, act, {}, actor, jnp.float32(0), key, 9, first_only=True
            )
            seen.append((windows, sums))
        return seen

    for windows, sums in jax.jit(rounds)(KEYS[1]):
        assert not any(map(np.any, sums.breaches.values()))
        secret, t, _ = np.moveaxis(np.asarray(windows.state), -1, 0)
        length = 3 + secret[0] % 5
        whole = secret[0] % FAULT != 0
        assert sums.episodes == whole.sum() and host.wrong == []
        for j in np.flatnonzero(whole):
            steps = int(length[j])
            assert windows.valid[:, j].tolist() == [True] * steps + [False] * (9 - steps)
            assert (t[steps:, j] == steps).all() and windows.first[steps + 1 :, j].all()


def test_a_task_travels_with_the_step():
    def switching(key):
        host = Counting()
        env = [outside(SPEC, E, host, task) for task in range(2)]
        state, _ = env[0].reset(key)
        rows = []
        for task in (0, 0, 1, 1, 0):
            state, now = env[task].step(state, jnp.ones((E, N), jnp.int32))
            rows.append(now)
        return rows

    rows = jax.jit(switching)(KEYS[2])
    assert [row.obs[0, 0, 2].item() for row in rows] == [0, 0, 1, 1, 0]
    assert [bool(row.first.all()) for row in rows] == [False, False, True, False, True]
    assert not any(row.last.any() for row in rows)


@pytest.mark.parametrize("order", ["again", "skipped", "swapped"])
def test_a_call_that_is_repeated_left_out_or_out_of_order_is_caught(order):
    host = Counting()
    env = outside(SPEC, E, host, 0)
    action = jnp.ones((E, N), jnp.int32)

    @jax.jit
    def wrongly(key):
        state, now = env.reset(key)
        later, now = env.step(state, action)
        if order == "again":
            env.step(state, action)
        elif order == "skipped":
            env.step(later.replace(turn=later.turn + 1), action)
        else:
            _, row = env.step(later, action)
            env.step(later.replace(turn=later.turn + jnp.int32(row.reward[0] * 0)), action)
        return now

    jax.block_until_ready(wrongly(KEYS[0]))
    jax.effects_barrier()
    assert host.wrong == {"again": [(1, 2)], "skipped": [(3, 2)], "swapped": [(2, 3)]}[order]


def test_what_is_evaluated_depends_on_key_and_number_alone():
    """Rounds of five games play the episodes that rounds of one would; broken ones are marked."""

    blank = dict.fromkeys(field.name for field in fields(Learner))
    learner = Learner(**blank | {"act": act, "initial_carry": lambda n: jnp.zeros((n, N, 1))})
    host = Counting(seats=1, waits=True)

    @jax.jit
    def rounds(key):
        def one(first):
            return evaluate(outside(SPEC, E, host, 0, first), learner, {}, key)

        return jax.lax.map(one, jnp.arange(0, 15, E))

    played = jax.tree.map(np.ravel, rounds(KEYS[0]))
    bits = tuple(map(int, jax.random.bits(KEYS[0], (2,), jnp.uint32)))
    assert host.begun == [(bits, first) for first in range(15)]
    seat = Seat()
    seat.key, seat.first = bits, 0
    secrets = [host.secret(seat, j) for j in range(E)]
    for first in (5, 10):
        seat.first = first
        seat.episode[:] = 0
        secrets += [host.secret(seat, j) for j in range(E)]
    secrets = np.array(secrets)
    assert played.whole.tolist() == (secrets % FAULT != 0).tolist() and not played.whole.all()
    assert played.ended.all()
    assert (played.lengths == np.where(played.whole, 3 + secrets % 5, 3)).all()
    assert (played.won == ((secrets % 3 == 0) & played.whole)).all()


def test_actions_that_two_devices_could_wait_for_for_ever_are_refused():
    env = outside(SPEC, 8200, Counting(), 0)
    with pytest.raises(ConfigError, match=r"65,600 bytes: must be at most 65,536, so choose fewer"):
        jax.eval_shape(lambda key: env.step(env.reset(key)[0], jnp.zeros((8200, N), int)), KEYS[0])
