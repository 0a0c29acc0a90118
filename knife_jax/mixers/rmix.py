"""RMIX (Qiu et al. 2021): QMIX on what agents expect of the worst share of their returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from knife_jax.mixers.base import (
    INPUTS,
    Estimates,
    Factorisation,
    Goals,
    Joint,
    MixerOptions,
    take_action_values,
)
from knife_jax.mixers.layers import Monotonic
from knife_jax.mixers.quantiles import midpoints, quantile_huber
from knife_jax.nets.heads import ActionValues
from knife_jax.nets.initialisers import Init
from knife_jax.nets.wiring import NeuronGroup, Wiring

BISECTIONS = 24
"""of the range of atoms: as fine as float32"""


def cvar(
    atoms: Float[Array, "*X A K"], level: Int[Array, "*X"], n_levels: int, less: int = 0
) -> Float[Array, "*X A"]:
    """Return the conditional value at risk: the mean of the lowest n = ⌈α K⌉ atoms, α being
    (level + 1) / n_levels. Their sum is divided by n - ``less``.

    It is b - Σ_k max(b - z_k, 0) / n for every b from the n-th lowest atom to the next (Rockafellar
    & Uryasev 2000, eq. 4); such a b is found in a tenth of the time that sorting takes on a CPU.
    """
    n = -((level + 1) * atoms.shape[-1] // -n_levels)[..., None]
    still = jax.lax.stop_gradient(atoms)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = jnp.sum(jnp.where(still <= middle[..., None], 1.0, 0.0), axis=-1) >= n
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    ends = jnp.min(still, axis=-1), jnp.max(still, axis=-1)
    _, bound = jax.lax.fori_loop(0, BISECTIONS, halve, ends)
    below = jnp.where(still <= bound[..., None], atoms - bound[..., None], 0.0)
    mean = bound + jnp.sum(below, axis=-1) / n
    return mean * n / (n - less) if less else mean


@dataclass(frozen=True)
class RiskHead:
    """``atoms`` quantiles of each action's return, and values that are their CVaR at a risk level
    that the agent chooses among ``n_levels``.

    Scores of the levels are bilinear in the current atoms and in what the same layer makes of a
    memory of its own, ``risk``; the highest counts. No gradient passes a choice, so that the risk
    networks learn nothing, as in the released code, and none of them is operated on.
    """

    n_actions: int
    hidden_dim: int
    init_with: Init
    n_agents: int
    atoms: int
    n_levels: int
    less: int = 0
    """by how much the number of atoms in a CVaR is too small"""
    memories: ClassVar[tuple[str, ...]] = ("risk",)

    def __call__(self, h: Float[Array, "T B N H"], risk: Float[Array, "T B N H"]) -> ActionValues:
        init = self.init_with
        bias = init.bias(self.hidden_dim)
        width = self.n_actions * self.atoms
        read = nn.Dense(width, kernel_init=init.dense, bias_init=bias, name="head")

        now = read(h)
        still = jax.lax.stop_gradient(read.variables["params"])

        def linear(x: Float[Array, "T B N H"], width: int, name: str) -> Float[Array, "T B N W"]:
            """A layer of the atoms that x would have, by the product of both layers, which is
            smaller than the atoms are."""
            layer = nn.Dense(width, use_bias=False, kernel_init=init.dense, name=name)
            return jax.lax.stop_gradient(x) @ layer(still["kernel"]) + layer(still["bias"])

        current = linear(h, self.n_agents, "risk_current")
        history = linear(risk, self.n_agents * self.n_levels, "risk_history")
        history = history.reshape(*history.shape[:-1], self.n_agents, self.n_levels)
        scores = jnp.einsum("tbne,tbnel->tbnl", current, history) / math.sqrt(self.hidden_dim)
        atoms = now.reshape(*now.shape[:-1], self.n_actions, self.atoms)
        values = cvar(atoms, jnp.argmax(scores, axis=-1), self.n_levels, self.less)
        levels = jnp.broadcast_to(midpoints(self.atoms), (*h.shape[:2], self.atoms))
        return ActionValues(values, atoms, levels)

    def wiring(self) -> Wiring:
        """The layer that both memories share, and the two of the scores."""
        init, width = self.init_with, self.n_actions * self.atoms
        widths = {"risk_current": self.n_agents, "risk_history": self.n_agents * self.n_levels}
        return (
            NeuronGroup("head", width, init.columns, (), "head", init.bias),
            *(NeuronGroup(name, w, init.columns, (), "linear") for name, w in widths.items()),
        )


@dataclass(frozen=True)
class Risk:
    """Makes a ``RiskHead`` for so many agents, atoms and levels."""

    n_agents: int
    atoms: int
    n_levels: int
    less: int = 0

    def __call__(self, n_actions: int, hidden_dim: int, init_with: Init) -> RiskHead:
        given = self.n_agents, self.atoms, self.n_levels, self.less
        return RiskHead(n_actions, hidden_dim, init_with, *given)


class RMixer(nn.Module):
    """Q_tot = QMIX of the agents' CVaRs, and beside it the agents' own returns."""

    options: MixerOptions
    positive: str = "abs"
    needs: ClassVar[tuple[str, ...]] = ("samples", "state")

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "T B N"],
        samples: Float[Array, "T B N K"],
        state: Float[Array, "T B D"],
    ) -> Estimates:
        return {"q_tot": Monotonic(self.options, self.positive)(values, state), "agents": samples}

    def wiring(self) -> Wiring:
        """Every dense layer."""
        return Monotonic(self.options, self.positive).wiring()


def rmix(
    options: MixerOptions,
    *,
    positive: str = "abs",
    atoms: int = 100,
    risk_levels: int = 10,
    quantile_weight: float = 0.1,
    form: str = "paper",
) -> Factorisation:
    """Make RMIX: (Q_tot - y)² + ``quantile_weight`` Σ_i quantile Huber error of Z_i.

    Each agent's return is learnt from r + γ Z_i^- of its greedy action, and its CVaR is a mean, as
    in the paper (``form="paper"``). The released code (``"code"``) has the agent's own value, the
    CVaR of its action, in place of r, and divides the sum of the lowest atoms by one less than
    there are. It also alternates between both errors with an optimiser for each; that they are
    added is ours, in both forms.
    """
    code = form == "code"

    def error(estimates: Estimates, goals: Goals, joint: Joint) -> Float[Array, "T B"]:
        wrong = jnp.square(estimates["q_tot"] - goals.returns["q_tot"])
        levels = jnp.broadcast_to(INPUTS["levels"](joint)[:, :, None], estimates["agents"].shape)
        returns = goals.returns["agents"]
        if code:
            value = jax.lax.stop_gradient(take_action_values(joint.values, joint.action))
            returns += (value - goals.reward[..., None])[..., None]
        own = quantile_huber(estimates["agents"], levels, returns)
        return wrong + quantile_weight * jnp.sum(own, axis=-1)

    head = Risk(options.n_agents, atoms, risk_levels, int(code))
    return Factorisation(RMixer(options, positive), head=head, error=error)
