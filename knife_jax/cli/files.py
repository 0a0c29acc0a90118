"""The files that words choose from: the package's, and those of ``--config-dir``, which win."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from knife_jax.config.schema import ConfigError, shown


def configs_dir() -> Path:
    """``configs/`` inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"the configuration files are missing: no configs/train.yaml near {package}")


def user_dir(word: str) -> Path:
    """The folder that ``--config-dir`` names. Raises ``ConfigError`` if there is none."""
    if not (folder := Path(word)).is_dir():
        raise ConfigError(f"--config-dir {shown(word)}: there is no such folder")
    return folder.resolve()


def options(group: str, config_dir: Path | None = None) -> list[Path]:
    """The files of a group, by name."""
    found: dict[str, Path] = {}
    for folder in filter(None, (configs_dir(), config_dir)):
        found |= {file.stem: file for file in (folder / group).glob("*.yaml") if file.is_file()}
    return [found[name] for name in sorted(found)]


def replaced(config_dir: Path) -> list[str]:
    """The files of the package in whose place those of ``--config-dir`` are read."""
    return sorted(
        str(name)
        for file in config_dir.rglob("*.yaml")
        if file.is_file() and (configs_dir() / (name := file.relative_to(config_dir))).is_file()
    )


def ill_formed(config_dir: Path) -> str | None:
    """The first file that is not one of fields, and why."""
    for file in sorted(filter(Path.is_file, config_dir.rglob("*.yaml"))):
        try:
            if not isinstance(OmegaConf.load(file), DictConfig):
                return f"{file} is refused: it must hold fields with values"
        except Exception as error:  # whatever its parsers meet
            return f"{file} cannot be read: {error}"
    return None


def about(file: Path) -> str:
    """What the first comment of a file says. Raises ``ConfigError`` if it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    comments = (line[1:].strip() for line in lines if line[:1] == "#")
    return next((comment for comment in comments if not comment.startswith("@")), "")
