"""Temporal-difference goals on bare arrays, time-major: what an estimate is regressed on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped


def selector(
    online: Float[Array, "*X A"], target: Float[Array, "*X A"], *, double_q: bool
) -> Float[Array, "*X A"]:
    """Return the values whose greedy action the target network then evaluates.

    In double Q-learning (van Hasselt et al. 2016) they are those of the online network, else those
    of the target network itself, whose maximum is biased upwards.
    """
    return online if double_q else target


class Transitions(NamedTuple):
    """What returns are computed of."""

    reward: Float[Array, "T B"]
    terminated: Bool[Array, "T B"]
    """whether nothing follows"""
    valid: Bool[Array, "T B"]
    """whether step t has a transition"""
    next_value: Float[Array, "T B *X"]
    """V_{t+1}, of the greedy action in the step that transition t leads to"""


Taken = Callable[[], Float[Array, "T B *X"]]
"""makes Q_t, of the action taken in step t"""


@runtime_checkable
class Returns(Protocol):
    """How returns are estimated: one of those below."""

    def __call__(self, rows: Transitions, taken: Taken, *, gamma: float) -> Float[Array, "T B *X"]:
        """Return a goal for every transition, of windows that may hold several episodes.

        Truncated episodes bootstrap from the value of their true last observation, and nothing
        leaks from one episode into another. Entries at invalid steps mean nothing and must be
        masked out.
        """
        ...


def _shifted(x: Shaped[Array, "T *X"]) -> Shaped[Array, "T *X"]:
    """x of the next step, 0 after the last."""
    return jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])


def _with_discount(rows: Transitions, gamma: float) -> tuple[Array, Array, Array]:
    """The rewards, the discounts of what follows, and whether step t + 1 has a transition of its
    own in the window, as many axes as values have."""
    chex.assert_equal_shape(rows[:3])
    further = (1,) * (rows.next_value.ndim - rows.reward.ndim)
    several = lambda x: x.reshape(x.shape + further)  # noqa: E731
    discount, continues = gamma * (1.0 - rows.terminated), _shifted(rows.valid)
    return several(rows.reward), several(discount), several(continues)


def td_lambda_targets(
    rows: Transitions, taken: Taken, *, gamma: float, lam: float
) -> Float[Array, "T B *X"]:
    """Return TD(λ) goals (``Returns``).

    G_t = r_t + γ (1 - terminated_t) [(1 - λ_t) V_{t+1} + λ_t G_{t+1}], where λ_t = λ if step t + 1
    has a transition of its own and 0 otherwise (the last step of a truncated episode, and the step
    after the window). λ = 0 is the one-step goal.

    Sutton & Barto (2018), eq. 12.20; PyMARL2's recursion on episodes that terminate. As V is that
    of the greedy action and no return is cut short after another, it is Peng's Q(λ) (Peng &
    Williams 1996), the return of PQN.
    """
    del taken
    reward, discount, continues = _with_discount(rows, gamma)
    if lam == 0:
        return reward + discount * rows.next_value

    def backwards(ahead, step):
        r, d, v, lam_t = step
        target = r + d * ((1.0 - lam_t) * v + lam_t * ahead)
        return target, target

    steps = (reward, discount, rows.next_value, lam * continues)
    _, targets = jax.lax.scan(backwards, rows.next_value[-1], steps, reverse=True)
    return targets


def q_lambda_targets(
    rows: Transitions, taken: Taken, *, gamma: float, lam: float
) -> Float[Array, "T B *X"]:
    """Return Q(λ) goals, corrected for actions that were not greedy (``Returns``).

    G_t = r_t + γ (1 - terminated_t) [V_{t+1} + λ_t (G_{t+1} - Q_{t+1})], λ_t as in TD(λ): returns
    of the actions taken from t + 1 on count by how much they differ from what was expected of these
    actions (Harutyunyan et al. 2016, eq. 3 with the greedy policy). λ = 0 is the one-step goal.

    PyMARL2's ``q_lambda`` adds V_t - Q_t to the goal of Q_t itself, which is then too high wherever
    the action is not greedy; that is not copied.
    """
    reward, discount, continues = _with_discount(rows, gamma)
    ahead = _shifted(taken())

    def backwards(after, step):
        one_step, d, lam_t, q = step
        target = one_step + d * lam_t * (after - q)
        return target, target

    steps = (reward + discount * rows.next_value, discount, lam * continues, ahead)
    return jax.lax.scan(backwards, jnp.zeros_like(ahead[-1]), steps, reverse=True)[1]


def n_step_targets(
    rows: Transitions, taken: Taken, *, gamma: float, n: int
) -> Float[Array, "T B *X"]:
    """Return n-step goals (``Returns``): Σ_{k<m} γ^k r_{t+k} + γ^m V_{t+m}, where m is n or, where
    fewer transitions of the episode follow in the window, their number (Sutton & Barto 2018,
    eq. 7.1)."""
    del taken
    reward, discount, continues = _with_discount(rows, gamma)
    target = reward + discount * rows.next_value
    for _ in range(n - 1):
        target = reward + discount * jnp.where(continues, _shifted(target), rows.next_value)
    return target


def make_returns(name: str, *, lam: float, n: int) -> Returns:
    """Return the estimate of returns of a name, with its λ or its number of steps."""
    made: dict[str, Returns] = {
        "td_lambda": partial(td_lambda_targets, lam=lam),
        "q_lambda": partial(q_lambda_targets, lam=lam),
        "n_step": partial(n_step_targets, n=n),
    }
    return made[name]
