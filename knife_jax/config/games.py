"""The section ``games``: processes of games outside of jax, where and how. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from knife_jax.config.schema import Count, Section, above, at_least, at_most


class GamesError(Exception):
    """The games of a run gave up. The message is one line."""


@dataclass(frozen=True, kw_only=True)
class GamesConfig(Section):
    """Processes of games outside of jax (env=smacv2): one for each game."""

    section: ClassVar[str] = "games"
    python: Annotated[str | None, "interpreter that plays; null = this one"] = None
    watchdog: Annotated[float, above(0), "seconds after which a game that is silent is ended"] = (
        60.0
    )
    evaluation: Annotated[Count, "games of an evaluation, which are played in rounds"] = 4
    limit: Annotated[
        int, at_least(1), at_most(800), "most games at once: num_seeds x env.n_envs + evaluation"
    ] = 128
