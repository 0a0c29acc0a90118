"""The text of ``--help``, written from the configuration itself."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from knife_jax.cli.compose import options
from knife_jax.config import GROUPS, Config
from knife_jax.schema import INT32, Section, fields_of, is_section, shown

HEAD = """\
Train cooperative agents whose networks are repaired while they learn.

usage: python -m knife_jax.train [group=option ...] [field=value ...] [-m] [--cfg job]
       knife-train               the same

examples:
  python -m knife_jax.train +env=smax +algo=qmix_knife
  python -m knife_jax.train env.scenario=2s3z num_seeds=3 env_steps=1e6
  python -m knife_jax.train env=mpe_predator_prey algo=qmix logger.wandb=disabled
  python -m knife_jax.train run_dir=runs/mine resume=auto
  python -m knife_jax.train +experiment=matrix_sequence algo=qmix_redo
  python -m knife_jax.train -m seed=0,1 algo=qmix,qmix_knife,qmix_redo
  python -m knife_jax.train -m launcher=joblib hydra.launcher.n_jobs=2 seed=0,1,2
  python -m knife_jax.train -m search=qmix env.scenario=2s3z num_seeds=3

options:
  -m, --multirun         one run for every combination of listed values (a,b or range(0,5)),
                         each in its own folder inside run_dir; launcher= says where
                         they run, search= chooses values instead of listing them all
  --cfg job              print the composed configuration and stop
  --config-dir FOLDER    search your own configuration files as well
  --hydra-help           options of Hydra, which composes the configuration
  --version, -h, --help
"""


def help_text(config: Config) -> str:
    """Groups with their options, then every field with its value in ``config`` and meaning."""
    chosen = {
        "env": config.env.name,
        "algo": config.algo.name,
        "preset": config.algo.preset,
        "plasticity": config.plasticity.name,
        "logger": config.logger.name,
        "experiment": config.experiment.name,
    }
    lines = [HEAD, "groups (env=smax, +env=smax and ++env=smax mean the same; * = chosen):"]
    for group in GROUPS:
        lines += _options(group, chosen.get(group, ""))
    lines += ["", "fields (field=value, with the values of the groups chosen):"]
    return "\n".join([*lines, *_fields(config)])


def _options(group: str, chosen: str) -> Iterator[str]:
    for i, file in enumerate(options(group)):
        comments = [
            line[1:].strip()
            for line in file.read_text(encoding="utf-8").splitlines()
            if line[:1] == "#"
        ]
        about = next(comment for comment in comments if not comment.startswith("@"))
        mark = "*" if file.stem == chosen else ""
        yield f"  {group if i == 0 else '':<11} {file.stem + mark:<19} {about}"
    if group == "algo":
        mark = "" if chosen in (file.stem for file in options(group)) else "*"
        yield f"  {'':<11} {'ALGO_PLASTICITY' + mark:<19} both at once: qmix_redo, qmix_knife, ..."


def _fields(section: Section, prefix: str = "") -> Iterator[str]:
    for name, field in fields_of(type(section)).items():
        value = getattr(section, name)
        if is_section(field.type):
            yield ""
            yield from _fields(value, f"{name}.")
        elif field.meaning != "label":
            limits = ", ".join(allowed.text for allowed in field.allowed if allowed != INT32)
            text = wrap(f"{field.meaning} ({limits})" if limits else field.meaning, 64)
            yield f"{f'  {prefix}{name}={shown(value)}':<33} {text[0]}"
            yield from (" " * 34 + more for more in text[1:])
