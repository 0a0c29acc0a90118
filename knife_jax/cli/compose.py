"""From words to a configuration, by Hydra. One composition for single runs, sweeps and studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from knife_jax.cli.files import configs_dir, ill_formed, options
from knife_jax.cli.words import parse, plain
from knife_jax.config.plain import defaults, from_dict
from knife_jax.config.run import GROUPS, Config
from knife_jax.config.schema import ConfigError, nearest, refusal

SWEEPERS = ("launcher", "search")
"""groups that say how the jobs of a sweep are started and chosen"""

PLUGINS = ("joblib", "ray", "submitit_local", "submitit_slurm", "optuna")
"""launchers and sweepers of Hydra that the extra ``sweep`` installs"""

STORE = ConfigStore.instance()
# Hydra copies its sources for each composition: half of its time would go into nodes of the store,
# which it copies again when it loads one
STORE.__deepcopy__ = lambda memo: STORE  # type: ignore
WHOLE = STORE.repo["hydra"]["config.yaml"]
"""Hydra's own settings, which are a third of the work of a composition"""
OFF = [{"hydra_logging": "none"}, {"job_logging": "none"}]
BARE = replace(WHOLE, node=OmegaConf.structured(HydraConf(defaults=OFF)))
"""what is left of them where they are not asked for and no file changes them"""
FOUND: dict[tuple[str, ...], DictConfig] = {}
"""what the package's own files come to, which do not change while a process lives"""


def compose(overrides: Sequence[str] = (), config_dir: str | None = None) -> Config:
    """The configuration that command-line words ask for, as ``train`` would get it.

    Raises ``ConfigError``.
    """
    for word in overrides:
        if not isinstance(word, str):
            raise ConfigError(f"cannot read {word!r:.80}: write 'field=value' or 'group=option'")
    folder = [f"--config-dir={config_dir}"] if config_dir is not None else []
    words = parse([*folder, *overrides])
    return composed(words.overrides, words.config_dir)


def composed(
    overrides: Sequence[Override],
    config_dir: Path | None,
    found: dict[tuple[str, ...], DictConfig] | None = None,
) -> Config:
    """The configuration of one job; ``found`` keeps what groups come to, for further jobs."""
    chosen = tuple(plain(o) for o in overrides if chooses(o))
    if found is None:
        found = {} if config_dir else FOUND
    if chosen not in found:
        found[chosen] = chosen_files(chosen, config_dir)
    values = deepcopy(found[chosen])
    with one_line():
        for field in overrides:
            if not chooses(field):  # forced in: from_dict alone decides which fields exist
                OmegaConf.update(
                    values, field.key_or_group, field.value(), merge=True, force_add=True
                )
    return read(values)


def chooses(word: Override) -> bool:
    """Whether a word chooses a file, or is for Hydra, rather than setting a field."""
    return word.is_hydra_override() or word.key_or_group in GROUPS


def chosen_files(
    words: Sequence[str], config_dir: Path | None, settings: bool = False
) -> DictConfig:
    """What the chosen files come to; with Hydra's own settings if these are asked for."""
    use(config_dir)
    if not (settings or config_dir or any(word.startswith(("hydra", *SWEEPERS)) for word in words)):
        STORE.repo["hydra"]["config.yaml"] = BARE
    with one_line(config_dir), initialize_config_dir(str(configs_dir()), version_base="1.3"):
        return hydra_compose("train", list(words), return_hydra_config=settings)


def use(config_dir: Path | None) -> None:
    """Let Hydra find the user's own files, and what is no file."""
    _UserFiles.folder = config_dir
    STORE.repo["hydra"]["config.yaml"] = WHOLE
    _store(config_dir)


class _UserFiles(SearchPathPlugin):
    """Has Hydra look into the folder of the user before that of the package."""

    folder: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.prepend("user", f"file://{self.folder}", anchor="main")


Plugins.instance().register(_UserFiles)


class _Pairs(dict[str, Any]):
    """What ``algo=ALGORITHM_METHOD`` chooses, as file -> (algorithm, method): some hundreds, of
    which Hydra's node is made for one that is asked for."""

    def __getitem__(self, file: str) -> ConfigNode:
        algo, method = super().__getitem__(file)
        chosen = [f"{algo}@algo", {"override /plasticity": method}, "_self_"]
        node = OmegaConf.create({"defaults": chosen, "algo": {"name": f"{algo}_{method}"}})
        return ConfigNode(file, node, "algo", "_global_", "knife_jax")


@lru_cache(maxsize=1)
def _store(config_dir: Path | None) -> None:
    """The nodes that are no files: defaults of all fields, and ``algo=ALGORITHM_METHOD``.

    Sections are open, so that words can set fields that the chosen files do not spell.
    """
    algos, methods = (
        [file.stem for file in options(group, config_dir)] for group in ("algo", "plasticity")
    )
    pairs = {f"{algo}_{method}": (algo, method) for algo in algos for method in methods}
    new = {*pairs} - {*algos, *(f"{algo}_none" for algo in algos)}
    STORE.repo["algo"] = _Pairs({f"{name}.yaml": pairs[name] for name in new})
    sections = {
        name: DictConfig(value, flags={"struct": False}) if isinstance(value, dict) else value
        for name, value in defaults().items()
    }
    STORE.store(name="schema", node=sections, provider="knife_jax")


@contextmanager
def one_line(config_dir: Path | None = None) -> Iterator[None]:
    """Errors of Hydra and OmegaConf, which are of any kind if a file is ill-formed, as ours."""
    try:
        yield
    except MissingConfigException as error:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        known = error.options or []
        if option in PLUGINS:
            install = "pip install -c constraints.txt -e '.[sweep]'"
            raise ConfigError(f"{group}={option} is not installed: {install}") from None
        if not known:
            raise ConfigError(f"{group}={option} is refused: there is no such group") from None
        meant = _elsewhere(option, config_dir) or nearest(option, known)
        allowed = _allowed(group, known, config_dir)
        raise ConfigError(refusal(f"{group}={option}", allowed, meant)) from None
    except Exception as error:
        message = ill_formed(config_dir) if config_dir else None
        message = message or str(error) or f"{error.__cause__ or type(error).__name__}"
        raise ConfigError(" ".join(message.split())) from None


def _allowed(group: str, known: Sequence[str], config_dir: Path | None) -> str:
    """What may be chosen of a group, in words."""
    if group != "algo":
        return f"one of {', '.join(known)}"
    algos = ", ".join(file.stem for file in options(group, config_dir))
    return f"one of {algos}, alone or with a method (qmix_knife); plasticity=... has the methods"


def _elsewhere(option: str, config_dir: Path | None) -> str | None:
    """The choice of another group that is called so."""
    of_group = {group: options(group, config_dir) for group in GROUPS}
    chosen = (g for g, files in of_group.items() if option in (file.stem for file in files))
    return next((f"{group}={option}" for group in chosen), None)


def read(composed: DictConfig) -> Config:
    """The configuration that Hydra composed. Raises ``ConfigError``."""
    with one_line():
        values = OmegaConf.to_container(composed, resolve=True)
    return from_dict(cast("dict[str, Any]", values))
