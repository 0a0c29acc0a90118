"""A loop over the few units or cells of all environments at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def fold(body: Callable[[Any, Any], Any], init: Any, n: int) -> Any:
    """``body(n - 1, ... body(0, init))``: a loop on a CPU, unrolled into few kernels elsewhere."""
    return jax.lax.platform_dependent(
        init,
        cpu=lambda carry: jax.lax.fori_loop(0, n, body, carry),
        default=lambda carry: jax.lax.fori_loop(0, n, body, carry, unroll=n),
    )
