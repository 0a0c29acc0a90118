"""The text of ``--help``, written from the configuration itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap

from knife_jax.cli.files import about, options
from knife_jax.config.run import GROUPS, Config
from knife_jax.config.schema import INT32, Section, fields_of, is_section, shown

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
  --config-dir FOLDER    your own configuration files, which win over the package's
  --hydra-help           options of Hydra, which composes the configuration
  --version, -h, --help
"""


def help_text(
    config: Config, chosen: Mapping[str, str | None], config_dir: Path | None = None
) -> str:
    """Groups with their options, then every field with its value in ``config`` and meaning."""
    lines = [HEAD, "groups (env=smax, +env=smax and ++env=smax mean the same; * = chosen):"]
    for group in GROUPS:
        lines += _options(group, chosen.get(group), config_dir)
    lines += ["", "fields (field=value, with the values of the groups chosen):"]
    return "\n".join([*lines, *_fields(config)])


def _options(group: str, chosen: str | None, config_dir: Path | None) -> Iterator[str]:
    files = options(group, config_dir)
    for i, file in enumerate(files):
        mark = "*" if file.stem == chosen else ""
        yield f"  {group if i == 0 else '':<11} {file.stem + mark:<19} {about(file)}"
    if group == "algo":
        mark = "" if any(file.stem == chosen for file in files) else "*"
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
