"""The files that words choose from: the package's, and those of ``--config-dir``, which win."""

from __future__ import annotations

from pathlib import Path

from knife_jax.schema import ConfigError, shown


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
    files = {file.relative_to(config_dir) for file in config_dir.rglob("*.yaml")}
    return sorted(str(file) for file in files if (configs_dir() / file).is_file())


def about(file: Path) -> str:
    """What the first comment of a file says. Raises ``ConfigError`` if it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    comments = (line[1:].strip() for line in lines if line[:1] == "#")
    return next((comment for comment in comments if not comment.startswith("@")), "")
