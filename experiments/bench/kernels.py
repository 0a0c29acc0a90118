"""How many kernels a chunk of training becomes, and what compiling takes. Nothing is trained.

    python experiments/bench/kernels.py [env=smax env.scenario=3m algo=qmix_knife ...]

Words are those of ``knife_jax.train``. The chunk is compiled for one device. ``fusions`` are the
instructions of the optimised program that run as one kernel made of several operations, loops'
bodies and branches included, each counted once: on a GPU each is a launch, here each is compiled by
itself. The count is the same in every run on a machine; seconds are of all processors. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from dataclasses import replace

from chunks import training
from stepping import where

from knife_jax.cli import compose
from knife_jax.config.run import Config

OPERATION = re.compile(r"^\s+(?:ROOT )?%?\S+ = .*? ([a-z][a-z-]*)\(", re.MULTILINE)
"""an instruction of the optimised program, with the name of what it does"""
SHOWN = 12
"""kinds of instructions that are listed"""


def instructions(program: str) -> Counter[str]:
    """How often each kind of instruction stands in a program's text, outside of fusions' own."""
    counts: Counter[str] = Counter()
    for body in re.split(r"\n\n", program):
        if not re.match(r"\s*%?(fused|wrapped)_", body):
            counts.update(OPERATION.findall(body))
    return counts


def measure(config: Config) -> dict[str, float | int]:
    """Compile the chunk of a configuration and count."""
    begun = training(replace(config, devices=1))
    program = begun.run.as_text()
    counts = instructions(program)
    for name, n in counts.most_common(SHOWN):
        print(f"{name:24s} {n:6d}")
    return {
        "fusions": counts["fusion"],
        "calls": counts["custom-call"] + counts["call"],
        "lines": program.count("\n"),
        "compile_cpu_seconds": round(begun.compiling.cpu, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="field=value, as for knife_jax.train")
    args = parser.parse_intermixed_args()
    found = measure(compose(args.words))
    print(json.dumps({"benchmark": "kernels", "words": args.words, **found, **where()}))


if __name__ == "__main__":
    main()
