"""Run directories of known scores, for the tests of reports."""

import json

from knife_jax.cli import compose
from knife_jax.config.plain import to_yaml
from knife_jax.records.directory import write

# p_i(t) of three tasks at t = 10 … 60, which change after 20 and 40; two seeds
FIRST = [[2, 4, 3, 3, 2, 1], [0, 0, 5, 6, 6, 6], [1, 1, 1, 2, 4, 8]]
SECOND = [[4, 8, 6, 6, 4, 2], [1, 1, 1, 3, 3, 2], [0, 2, 0, 2, 2, 2]]
FRESH = [[2, 4, 0, 0, 0, 0], [0, 0, 4, 8, 0, 0], [0, 0, 0, 0, 6, 10]]
MOMENTS = 6


def rows(*seeds, optimum=None, name="return", until=MOMENTS):
    """Rows of a run whose seeds 3, 4, … have these scores, of its one surgery, and of its best
    policy, which scores 0.5 below the best of each task."""
    out = []
    for j in range(until):
        now = {"env_steps": 10 * (j + 1), "updates": j, "wall_time": 1.5 + j / 4}
        for s, matrix in enumerate(seeds):
            stamp = {"seed": s + 3, **now}
            neurons = {"dormant_pct": 10.0 * s + j, "stagnant_pct": 5.0}
            out.append({"kind": "train", "task": j // 2, "return": -7.0, **stamp, **neurons})
            if j == 2:
                operated = {"units_operated": 4 + 2 * s, "churn_max": 0.5 * s}
                out.append({"kind": "surgery", "task": 1, **stamp, **operated})
            for k, course in enumerate(matrix):
                row = {"kind": "eval", "task": k, name: float(course[j]), **stamp}
                regret = {} if optimum is None else {"regret": optimum[k] - course[j]}
                out.append(row | regret)
    for s, matrix in enumerate(seeds if until == MOMENTS else []):
        for k, course in enumerate(matrix):
            row = {"kind": "absolute", "seed": s + 3, "task": k, "env_steps": 10, "updates": 0}
            out.append(row | {"wall_time": 9.5, name: max(course) - 0.5})
    return out


def store(folder, content, config=None):
    """A run directory with these rows, by default of the study of matrix games. Returns it."""
    folder.mkdir(parents=True)
    config = config or compose(["experiment=matrix_sequence"])
    write(folder / "config.yaml", to_yaml(config).encode())
    lines = [json.dumps(row) + "\n" for row in content]
    write(folder / "metrics.jsonl", "".join(lines).encode())
    return folder
