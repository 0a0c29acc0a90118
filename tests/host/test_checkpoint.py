"""A checkpoint is handed out as it was saved, or not at all."""

import json
import random
import resource
import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.host.stored import ResumeError, check_schema, newest
from knife_jax.records.arrays import shapes, to_arrays, to_tree
from knife_jax.records.checkpoint import Checkpoints, DamagedError, NotSavedError


class State(NamedTuple):
    """Every kind of leaf that a training state can have."""

    weights: dict
    key: jax.Array
    flags: jax.Array
    count: jax.Array
    nothing: jax.Array


def state_of(number: int) -> State:
    key = jax.random.key(number)
    return State(
        weights={
            "kernel": jax.random.normal(key, (3, 5, 7)),
            "half": jax.random.normal(key, (11,)).astype(jnp.bfloat16),
            "zeros": jnp.zeros((13, 17)),
        },
        key=jax.random.split(key, 3),
        flags=jax.random.bernoulli(key, shape=(19,)),
        count=jnp.asarray(number),
        nothing=jnp.zeros((3, 0)),
    )


LIKE = jax.eval_shape(state_of, 0)


def saved(folder: Path, *steps: int) -> Checkpoints:
    stored = Checkpoints(folder)
    for step in steps:
        stored.save(step, to_arrays(state_of(step)), {"note": f"step {step}"})
    stored.wait()
    return stored


def same(a: State, b: State) -> bool:
    leaves = zip(*(jax.tree.leaves(to_arrays(tree)) for tree in (a, b)), strict=True)
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in leaves)


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    with closing(saved(tmp_path, 100)) as stored:
        about = stored.about(100)
        back = to_tree(stored.arrays(100, about), LIKE)
    assert about["note"] == "step 100"
    assert same(jax.tree.map(jnp.asarray, back), state_of(100))
    assert jax.random.bits(back.key[1]) == jax.random.bits(state_of(100).key[1])
    table = {name: [row["shape"], row["dtype"]] for name, row in about["arrays"].items()}
    assert table == shapes(LIKE)
    assert table["weights/half"] == [[11], "bfloat16"] and table["key"] == [[3, 2], "uint32"]


def test_the_newest_few_and_the_best_are_kept(tmp_path):
    with closing(saved(tmp_path, 5, 10, 15, 100, 20)) as stored:
        assert stored.steps() == [100, 20, 15, 10, 5]
        stored.prune(newest=2, best=10)
        assert stored.steps() == [100, 20, 10]
        (tmp_path / "40.orbax-checkpoint-tmp").mkdir()
        stored.go_on_from(20)
        assert stored.steps() == [20, 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "100.aside", "20"]


def test_the_caller_may_change_its_arrays_while_they_are_written(tmp_path):
    live = jnp.ones((2000, 1000))
    advance = jax.jit(lambda x: x + 1, donate_argnums=0)
    with closing(Checkpoints(tmp_path)) as stored:
        stored.save(1, to_arrays({"x": live}), {})
        for _ in range(20):
            live = advance(live)
        stored.wait()
        np.testing.assert_array_equal(stored.arrays(1, stored.about(1))["x"], 1.0)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(path: Path, chance: random.Random) -> str:
    """One fault of a disk."""
    content = bytearray(path.read_bytes())
    kind = chance.choice(["flip", "truncate", "delete"] if content else ["delete"])
    if kind == "flip":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    elif kind == "truncate":
        path.write_bytes(content[: chance.randrange(len(content))])
    else:
        path.unlink()
    return kind


N_FAULTS = 120


def test_no_fault_in_any_file_is_loaded_in_silence(tmp_path, capfd):
    """Each fault is either in a byte that does not matter, or the older step is taken."""
    saved(tmp_path / "whole", 1, 2).close()
    chance, outcomes = random.Random(7), {"older": 0, "unharmed": 0}
    for _ in range(N_FAULTS):
        shutil.copytree(tmp_path / "whole", folder := tmp_path / "hurt")
        kind = damage(chance.choice(files_of(folder / "2")), chance)
        with closing(Checkpoints(folder)) as stored:
            found = newest(stored, check_schema)
        assert found is not None
        back = jax.tree.map(jnp.asarray, to_tree(found.arrays, LIKE))
        assert found.about["note"] == f"step {found.step}", kind
        assert same(back, state_of(found.step)), kind
        outcomes["older" if found.step == 1 else "unharmed"] += 1
        shutil.rmtree(folder)
    err = capfd.readouterr().err.splitlines()
    assert outcomes["older"] > N_FAULTS // 5
    assert (
        len([line for line in err if line.startswith("warning: checkpoint 2 is skipped: ")])
        == (outcomes["older"])
    )


def test_an_edited_description_is_noticed(tmp_path):
    with closing(saved(tmp_path, 7)) as stored:
        path = tmp_path / "7" / "about" / "metadata"
        text = path.read_text()
        path.write_text(text.replace("step 7", "step 8"))
        with pytest.raises(DamagedError, match="description does not match its sum"):
            stored.about(7)
        path.write_text(json.dumps({"about": {}}))
        with pytest.raises(DamagedError, match="description cannot be read"):
            stored.about(7)


def test_if_all_are_damaged_nothing_is_loaded(tmp_path):
    with closing(saved(tmp_path, 1, 2)) as stored:
        for step in (1, 2):
            shutil.rmtree(tmp_path / str(step) / "state")
        with pytest.raises(ResumeError, match="none of the checkpoints 2, 1 can be used"):
            newest(stored, check_schema)


def test_an_empty_folder_has_none(tmp_path):
    with closing(Checkpoints(tmp_path / "nothing")) as stored:
        assert newest(stored, check_schema) is None


def test_a_full_disk_is_told_in_one_line_and_leaves_the_last_good_one(tmp_path):
    big = {"x": np.random.default_rng(0).random(100_000)}
    with closing(saved(tmp_path, 1)) as stored:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        try:
            with pytest.raises(NotSavedError) as error:
                stored.save(2, big, {})
                stored.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(error.value) and len(str(error.value)) <= 200
        assert stored.steps() == [1]
        found = newest(stored, check_schema)
        assert found is not None and found.step == 1
        with suppress(NotSavedError):
            stored.wait()
        stored.save(3, big, {})
        stored.wait()
        assert stored.steps() == [3, 1]


@pytest.mark.parametrize("name", ["a[x]", "a*b", "a?b", "a\\b", "#%20 {}$~'(ü),=c", "plain"])
def test_a_checkpoint_is_whole_whatever_its_folder_is_called(name, tmp_path):
    (tmp_path / "aXb").mkdir()
    folder, array = tmp_path / name / "checkpoints", np.arange(3)
    with closing(Checkpoints(folder)) as stored:
        stored.save(7, {"x/y": array}, {"n": 1})
        stored.wait()
    with closing(Checkpoints(folder)) as stored:
        assert stored.steps() == [7]
        np.testing.assert_array_equal(stored.arrays(7, stored.about(7))["x/y"], array)
