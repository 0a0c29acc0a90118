"""A study of runs as they are left on disk, of any size and with all kinds of records."""

import math

import numpy as np
from fake_runs import store

from knife_jax.cli import compose
from knife_jax.config.plain import to_dict
from knife_jax.records.compare import hash_of
from knife_jax.records.directory import write_json

LAYERS = ("agent/encoder", "agent/memory", "mixer/w1_hidden")


def content(level, *, seeds, moments, surgeries=3, probes=4, step=1000, until=1.0):
    """Records of seeds 0, 1, … whose win rate climbs to about ``level``; ``until`` says how far."""
    rng = np.random.default_rng(int(1000 * level) + seeds)
    out, end = [], int(moments * until)
    final = {}
    for j in range(1, end + 1):
        now = {"env_steps": step * j, "updates": j, "task": 0, "wall_time": 2.0 + j / 10}
        for seed in range(seeds):
            won = float(
                np.clip(level * (1 - math.exp(-4 * j / moments)) + rng.normal(0, 0.03), 0, 1)
            )
            stamp = {"seed": seed, **now}
            stagnant = 12 + 20 * (1 - level) * j / moments + rng.normal()
            train = {"return": 15 * won, "win_rate": 0.9 * won, "loss": 0.2 / (1 + j) + 0.01}
            train |= {"stagnant_pct": stagnant, "dormant_pct": 0.7 * stagnant, "grafted_units": j}
            out.append({"kind": "train", "train_seconds": j / 10, **stamp, **train})
            if j % max(1, moments // 20) == 0:
                out.append({"kind": "eval", **stamp, "return": 20 * won, "win_rate": won})
                final[seed] = won, stamp
            if surgeries and j % max(1, moments // surgeries) == 0:
                operated = {"units_operated": 10 + seed, "churn_max": 1e-7 * seed}
                out.append({"kind": "surgery", **stamp, **operated, "slots_used": j})
            if probes and j % max(1, moments // probes) == 0:
                found = {f"{layer}/stagnant_pct": stagnant + i for i, layer in enumerate(LAYERS)}
                found |= {f"{layer}/dormant_pct": stagnant / 2 for layer in LAYERS}
                found |= {f"{layer}/effective_rank": 30 - stagnant / 2 for layer in LAYERS}
                found |= {f"{layer}/revival_pct": 90.0 - seed for layer in LAYERS if surgeries}
                out.append({"kind": "probe", **stamp, **found, "hessian_max": 80.0 + j})
    for won, stamp in final.values() if until == 1 else ():
        for kind in ("final", "absolute"):
            out.append({"kind": kind, **stamp, "return": 20 * won, "win_rate": won})
    return out


def study(folder, levels, *, seeds=3, moments=100, **further):
    """A folder with a complete run for each method -> the win rate that it climbs to."""
    for name, level in levels.items():
        config = compose([
            "env=smax", f"algo=qmix_{name}" if name != "none" else "algo=qmix",
            f"num_seeds={seeds}", f"env_steps={1000 * moments}",
        ])  # fmt: skip
        records = content(
            level, seeds=seeds, moments=moments, surgeries=3 * (name != "none"), **further
        )
        run = store(folder / name, records, config)
        summarise(run, config, records)
    return folder


def summarise(run, config, records, status="complete", **further):
    """The summary of a run, as far as reports read it."""
    write_json(run / "summary.json", {
        "status": status, "config_hash": hash_of(to_dict(config)), "wall_seconds": 73.1,
        "train_seconds": 41.0, "compile_seconds": 15.9, "env_steps_per_second": 14594.7,
        "env_steps": max(record["env_steps"] for record in records),
        "versions": {"python": "3.11.7", "knife_jax": "0.1.0", "jax": "0.10.2",
                     "git_commit": "c4e808f780d7493a37adabf5deb6c6b1c75303c1"},
        **further,
    })  # fmt: skip
