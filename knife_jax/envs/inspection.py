"""What is wrong with an environment, as far as it shows before one is played.

Its functions are traced and never run: shapes, dtypes and structure come from ``jax.make_jaxpr``,
and functions that are not pure give two programs when they are traced twice.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from knife_jax.console.messages import one_line
from knife_jax.envs.base import Env, EnvSpec, TimeStep
from knife_jax.envs.contract import wrong_shapes
from knife_jax.types import PyTree

SIZES = ("n_agents", "n_actions", "obs_size", "state_size", "horizon")

NEEDS_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
KEEPS_VALUE = jax.errors.UnexpectedTracerError

PACKAGE = __file__.rpartition("/envs/")[0] + "/"


def faults_of(env: Env) -> list[str]:
    """Look at an environment without playing it.

    Args:
        env: the environment.

    Returns:
        A line for each fault; what can only be seen without the faults before it is left out.
    """
    found = _faults_of_spec(env.spec)
    found += [f"{name} is no function" for name in ("reset", "step") if not _callable(env, name)]
    if found:
        return found
    spec, key = env.spec, jax.random.key(0)
    reset, found = _traced("reset", spec, env.reset, key)
    if reset is None:
        return found
    action = jax.ShapeDtypeStruct((spec.n_agents,), jnp.int32)
    step, of_step = _traced("step", spec, env.step, key, reset[0], action)
    found += of_step
    return found if step is None else found + _changes(reset[0], step[0])


def _faults_of_spec(spec: Any) -> list[str]:
    if not isinstance(spec, EnvSpec):
        return [f"spec is of type {type(spec).__name__}, must be an EnvSpec"]
    found = [
        f"spec.{name}={size!r} must be a whole number, at least 1"
        for name in SIZES
        if isinstance(size := getattr(spec, name), bool)
        or not isinstance(size, int | np.integer)
        or size < 1
    ]
    if not isinstance(spec.name, str) or not spec.name:
        found.append(f"spec.name={spec.name!r} must be text")
    if not isinstance(spec.has_win, bool):
        found.append(f"spec.has_win={spec.has_win!r} must be True or False")
    return found


def _callable(env: Env, name: str) -> bool:
    return callable(getattr(env, name))


def _traced(
    name: str, spec: EnvSpec, function: Callable, *arguments: PyTree
) -> tuple[Any, list[str]]:
    """The shapes of what a function returns, if it is what it must be, and its faults."""
    programs = []
    for _ in range(2):
        # by a new function each time: jax keeps what it has traced before
        afresh = jax.make_jaxpr(lambda *given: _arrays(function(*given)), return_shape=True)
        try:
            programs.append(afresh(*arguments))
        except NoArrayError as error:
            return None, [f"{name} returns {error}, must be an array or a number"]
        except (Exception, SystemExit) as error:  # whatever the user's code meets
            return None, [why(name, error)]
    (first, returned), (second, _) = programs
    if not (isinstance(returned, tuple) and len(returned) == 2):
        kind = type(returned).__name__
        return None, [f"{name} returns a value of type {kind}, must be (state, TimeStep)"]
    if not isinstance(returned[1], TimeStep):
        kind = type(returned[1]).__name__
        return None, [f"{name} returns (state, {kind}), must be (state, TimeStep)"]
    found = wrong_shapes(spec, returned[1], name)
    if not _equal(first, second):
        found.append(
            f"{name} is not a pure function: called twice it is two different programs (does it "
            "count, keep arrays, or draw numbers without its key?)"
        )
    return returned, found


class NoArrayError(Exception):
    """Something that jax cannot hold. The message says where it is, and what."""


def _arrays(returned: PyTree) -> PyTree:
    """What a function of the user's returns. Raises ``NoArrayError`` if not all of it is arrays."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(returned)[0]:
        if not isinstance(leaf, jax.Array | np.ndarray | np.number | np.bool | int | float):
            at = jax.tree_util.keystr(path).removeprefix("[1].").replace("[0]", "a state", 1)
            raise NoArrayError(f"{at} of type {type(leaf).__name__}")
    return returned


def _equal(first: Any, second: Any) -> bool:
    """Whether two programs are the same, with the same constants."""
    texts = [re.sub(r"0x[0-9a-f]+", "", str(program)) for program in (first, second)]
    pairs = zip(first.consts, second.consts, strict=False)
    return texts[0] == texts[1] and all(a is b or _same_numbers(a, b) for a, b in pairs)


def _same_numbers(a: Any, b: Any) -> bool:
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=a.dtype.kind == "f")


def _changes(before: PyTree, after: PyTree) -> list[str]:
    """How the state that ``step`` returns differs in kind from the one that it is given."""
    (old, new), rule = map(jax.tree_util.tree_flatten_with_path, (before, after)), "must not change"
    if old[1] != new[1]:
        paths = [{jax.tree_util.keystr(path) for path, _ in leaves} for leaves, _ in (old, new)]
        only = sorted(paths[0] ^ paths[1])
        which = f"state{only[0]} is in one alone" if only else f"{old[1]} and {new[1]}"
        return [f"the state of reset and that of step have another structure, {rule}: {which}"]
    kinds = [
        (jax.tree_util.keystr(path), *(f"{leaf.dtype} {list(leaf.shape)}" for leaf in (a, b)))
        for (path, a), (_, b) in zip(old[0], new[0], strict=True)
    ]
    return [
        f"state{path} is {a} from reset and {b} from step, {rule}" for path, a, b in kinds if a != b
    ]


def why(name: str, error: BaseException) -> str:
    """What went wrong in a function of the user's, and in which line."""
    at = _place(error)
    if isinstance(error, KEEPS_VALUE):
        return f"{name} uses an array that an earlier call has kept (in self or a global){at}"
    if isinstance(error, NEEDS_VALUE):
        return (
            f"{name} needs the number in an array before there is one (if, while, int(), NumPy, "
            f"...){at}: use jnp.where, jax.lax.cond or jax.numpy"
        )
    return f"{name} raises {one_line(error)}{at}"


def _place(error: BaseException) -> str:
    """The last line of the user's own code that led to an error: `` (my_env.py, line 12)``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_library(frame.filename)]
    return f" ({own[-1].filename.rpartition('/')[2]}, line {own[-1].lineno})" if own else ""


def _is_library(file: str) -> bool:
    return file.startswith(("<", PACKAGE)) or "/site-packages/" in file
