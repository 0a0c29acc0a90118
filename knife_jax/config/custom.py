"""Environments from outside the package, named on the command line. Free of jax."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated

from knife_jax.config.env import EnvConfig
from knife_jax.config.schema import Allowed, ConfigError, Named, choice, shown

TARGET = re.compile(r"(?P<module>\w+(?:\.(?!py:)\w+)*):(?P<name>\w+)")

FUNCTION = Allowed(
    "of the form module:function, as in my_package.my_env:make",
    lambda x: bool(TARGET.fullmatch(x)),
)

NO_TARGET = "env.target is not set: write env.target=my_module:make"


@dataclass(frozen=True, kw_only=True)
class CustomConfig(EnvConfig):
    """An environment of your own: a function that returns an ``Env``."""

    name: Annotated[str, choice("custom"), "label"] = "custom"
    target: Annotated[str | None, FUNCTION, "what makes it"] = None
    args: Annotated[Named, "keyword arguments of the target: env.args.NAME=VALUE"] = field(
        default_factory=dict
    )

    def module(self) -> str | None:
        return None if self.target is None else self.target.partition(":")[0]

    def check_installed(self) -> None:
        """Raise ``ConfigError`` if there is no such module. Only its package is imported."""
        if (module := self.module()) is None:
            raise ConfigError(NO_TARGET)
        look_in_working_directory()
        try:
            found = module in sys.modules or find_spec(module) is not None
        except ImportError:
            found = False
        except Exception:  # of its package, which is said when it is imported
            found = True
        if not found:
            raise no_module(self.target, module)

    def title(self) -> str:
        words = [f"{name}={shown(value)}" for name, value in self.args.items()]
        return " ".join([self.name, *filter(None, [self.target]), *words])


def no_module(target: str | None, module: str) -> ConfigError:
    """The refusal of a target whose module, or a package that it lies in, is not found."""
    return ConfigError(
        f"env.target={target} is refused: there is no module {module!r} in the working directory "
        "or among what is installed"
    )


def look_in_working_directory() -> None:
    """Let modules be found there, whatever program this is."""
    if "" not in sys.path:
        sys.path.append("")
