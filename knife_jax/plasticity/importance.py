"""How much each weight matters for what a network has learnt."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from knife_jax.checks import checked
from knife_jax.plasticity.base import Importance
from knife_jax.types import PyTree

OF_SLOPES: dict[Importance, Callable[[Array], Array]] = {
    "fisher": jnp.square,
    "output_slopes": jnp.abs,
}
"""what is averaged of a gradient"""


@checked
def weight_importance(
    kind: Importance, gradient: Callable[[PyTree], PyTree], parts: PyTree
) -> PyTree:
    """Measure the importance of every weight on the parts of a batch.

    The diagonal of the empirical Fisher information is the mean of squared gradients of the loss
    (Kirkpatrick et al. 2017, eq. 3); that of MAS the mean of absolute gradients of ‖F(x)‖², the
    squared norm of what the network puts out (Aljundi et al. 2018, eq. 2-3).

    Args:
      kind: ``fisher`` or ``output_slopes``.
      gradient: part -> gradient in the parameters of the loss, or of the outputs' squared norm.
      parts: Samples that each have a gradient of their own, leaves ``[B, ...]``.

    Returns:
      A tree like the gradient, of means over the parts.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from knife_jax import plasticity as p
      >>> slope = jax.grad(lambda w, x: jnp.sum((w * x) ** 2))
      >>> rows = jnp.array([[1.0, 0.0], [3.0, 2.0]])
      >>> weights = jnp.array([-1.0, 1.0])
      >>> p.weight_importance("output_slopes", lambda x: slope(weights, x), rows).tolist()
      [10.0, 4.0]
    """
    of = OF_SLOPES[kind]

    def add(total: PyTree, part: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(lambda sum_, g: sum_ + of(g), total, gradient(part)), None

    first = jax.tree.map(lambda leaf: leaf[0], parts)
    nothing = jax.tree.map(lambda g: jnp.zeros(g.shape, g.dtype), jax.eval_shape(gradient, first))
    total, _ = jax.lax.scan(add, nothing, parts)
    n = len(jax.tree.leaves(parts)[0])
    return jax.tree.map(lambda sum_: sum_ / n, total)
