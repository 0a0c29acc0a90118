"""How much arithmetic and memory traffic a function asks for, and how much the machine can do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, jaxpr_as_fun


class Peaks(NamedTuple):
    """The most that was seen of this machine."""

    flops: float
    """floating-point operations per second"""
    bytes: float
    """bytes read and written per second"""


def peaks(tries: int = 7) -> Peaks:
    """The best of ``tries`` products of two float32 matrices, and of walks over a large array.

    Products run at jax's default precision, as those of the networks do. The array is read and
    written in place: if it goes to new memory, a CPU is busy with giving out pages.
    """
    big = jax.default_backend() != "cpu"
    n, length = (8192, 2**28) if big else (2048, 2**26)
    square, long = jnp.ones((n, n)), jnp.ones(length)
    return Peaks(
        flops=2 * n**3 / _fastest(lambda x: x @ x / n, square, tries),
        bytes=2 * long.nbytes / _fastest(lambda x: x + 1.0, long, tries),
    )


def _fastest(f: Callable, x: jax.Array, tries: int) -> float:
    run, times = jax.jit(f, donate_argnums=0), []
    for _ in range(tries + 1):  # the first one compiles
        start = time.perf_counter()
        x = jax.block_until_ready(run(x))
        times.append(time.perf_counter() - start)
    return min(times[1:])


def matmul_flops(f: Callable, *args: Any) -> int:
    """Operations of all matrix products in one call, two to a multiplication with its addition."""
    return _flops(jax.make_jaxpr(f)(*args).jaxpr)


def _flops(jaxpr: Jaxpr) -> int:
    return sum(times * product_flops(eqn) for eqn, times in executed(jaxpr))


def product_flops(eqn: JaxprEqn) -> int:
    """Operations of an equation that is a matrix product; 0 of any other."""
    if eqn.primitive.name != "dot_general":
        return 0
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left: Any = eqn.invars[0].aval
    out: Any = eqn.outvars[0].aval
    return 2 * math.prod(left.shape[axis] for axis in contracted) * math.prod(out.shape)


def executed(jaxpr: Jaxpr, times: int = 1) -> Iterator[tuple[JaxprEqn, int]]:
    """The equations of a traced program and how often each is surely done: in a scan as often as it
    has passes, of branches those with the fewest operations of matrix products, and nothing of a
    loop whose number of passes is not fixed."""
    for eqn in jaxpr.eqns:
        yield eqn, times
        inside = [] if eqn.primitive.name == "while" else [*_subs(eqn)]
        if eqn.primitive.name == "cond":
            inside = [min(inside, key=_flops)]
        for sub in inside:
            yield from executed(sub, times * eqn.params.get("length", 1))


def traffic(f: jax.stages.Wrapped, *args: Any) -> float:
    """Bytes that XLA expects one call of the jitted ``f`` to read and write, caches aside.

    XLA counts the body of a loop once, whatever its number of passes, and of branches the largest.
    The other passes are added here: as often as the scan says, what XLA counts for its body
    compiled by itself.
    """
    counted = _counted(f, args)["bytes accessed"]
    return counted + _other_passes(jax.make_jaxpr(f)(*args).jaxpr)


def _other_passes(jaxpr: Jaxpr) -> float:
    total = 0.0
    for eqn in jaxpr.eqns:
        inside = [_other_passes(sub) for sub in _subs(eqn)]
        if eqn.primitive.name == "scan" and loops_count_once():
            length, unroll = eqn.params["length"], eqn.params["unroll"]
            body = eqn.params["jaxpr"]
            args = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in body.in_avals]
            missing = length - unroll - length % unroll
            if missing > 0:
                once = _counted(jax.jit(jaxpr_as_fun(body)), args)
                total += missing * once["bytes accessed"]
            total += length * inside[0]
        else:
            total += max(inside) if eqn.primitive.name == "cond" else sum(inside)
    return total


@cache
def loops_count_once() -> bool:
    """Whether XLA's analysis leaves the number of passes of a loop out, as it does on a CPU."""

    def product(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.tanh(x @ x), None

    x = jnp.ones((64, 64))
    loop = _counted(jax.jit(lambda x: jax.lax.scan(product, x, None, 32)[0]), [x])
    return loop["flops"] < 2 * _counted(jax.jit(lambda x: product(x, None)[0]), [x])["flops"]


def _counted(f: jax.stages.Wrapped, args: Any) -> dict[str, float]:
    counted = f.lower(*args).compile().cost_analysis()
    if counted is None:
        raise ValueError("this backend does not say what a program costs")
    return counted


def _subs(eqn: Any) -> Iterator[Jaxpr]:
    """The programs inside an equation: bodies, branches, called functions."""
    for value in eqn.params.values():
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one
