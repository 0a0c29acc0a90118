"""A frame of a recording as a picture, for films."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 864, 576
FINE = 2
"""drawn so many times larger, and made smaller: smooth edges"""
PAPER, GROUND, LINE, INK, SOFT = "#fbfaf8", "#f3f1ec", "#dedbd4", "#1c1e21", "#6a6f76"
TEAMS = {"agent": "#1f5fa8", "enemy": "#c9572b", "prey": "#3c7f4f", "obstacle": "#a9a59c"}
HEALTH, FOLLOWED = "#4c9f62", "#8a8f98"
ARENA = 16, 56, 520, 560
CHART = 580, 84, 848, 250
VALUES = 580, 300, 848, 560

Arrays = Mapping[int, np.ndarray]


def row(arrays: Arrays, place: Mapping[str, Any], t: int) -> Any:
    """What an array holds of a step; what never changes is there once."""
    found = arrays[place["at"]]
    return found[min(t, len(found) - 1)]


class Picture:
    """Draws in pixels of the finished frame."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (SIZE[0] * FINE, SIZE[1] * FINE), PAPER)
        self._pen = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        """The frame."""
        return self._image.reduce(FINE)

    def box(self, corners: Any, fill: Any = None, outline: Any = None, width: float = 1) -> None:
        self._pen.rectangle(self._fine(corners), fill, outline, round(width * FINE))

    def line(self, points: Any, fill: Any, width: float = 1) -> None:
        self._pen.line(self._fine(points), fill, round(width * FINE), joint="curve")

    def disc(self, x: float, y: float, r: float, fill: Any) -> None:
        self._pen.ellipse(self._fine((x - r, y - r, x + r, y + r)), fill)

    def arc(self, x: float, y: float, r: float, part: float, fill: Any) -> None:
        corners = self._fine((x - r, y - r, x + r, y + r))
        self._pen.arc(corners, -90, -90 + 360 * part, fill, 3 * FINE)

    def text(
        self, x: float, y: float, text: str, fill: Any = INK, size: float = 13, anchor: str = "lm"
    ) -> None:
        font = ImageFont.load_default(size * FINE)
        self._pen.text((x * FINE, y * FINE), text, fill, font, anchor)

    @staticmethod
    def _fine(numbers: Any) -> list[float]:
        return [FINE * float(number) for number in np.ravel(numbers)]


def draw(header: Mapping[str, Any], arrays: Arrays, episode: int, t: int) -> Image.Image:
    """The frame of a step: the game, Q_tot, and the agents' values."""
    picture, one = Picture(), header["episodes"][episode]
    collected = float(np.sum([row(arrays, one["reward"], i) for i in range(t)]))
    picture.text(16, 20, f"{header['title']}, {header['subtitle']}", size=15)
    said = f"episode {episode + 1}, step {t} of {one['length']}, collected {collected:.2f}"
    picture.text(16, 42, said + (", won" if one["won"] and t == one["length"] else ""), SOFT)
    picture.box(ARENA, GROUND)
    stage = {"arena": _arena, "payoffs": _payoffs, "observations": _observations}
    stage[header["stage"]["type"]](picture, header, arrays, one, t)
    _chart(picture, arrays, one, t)
    _values(picture, header, arrays, one, min(t, one["length"] - 1))
    return picture.finished()


def _arena(picture: Picture, header: Any, arrays: Arrays, one: Any, t: int) -> None:
    stage, scene = header["stage"], one["scene"]
    left, top, right, bottom = ARENA
    now = {name: row(arrays, place, t) for name, place in scene.items()}
    before = {name: row(arrays, place, max(t - 1, 0)) for name, place in scene.items()}
    wide = stage["right"] - stage["left"]
    xs, ys = (np.stack([row(arrays, scene[a], i) for i in range(one["length"] + 1)]) for a in "xy")
    here = np.ones_like(xs, bool)
    if "present" in scene:
        here = np.stack([row(arrays, scene["present"], i) for i in range(len(xs))]).astype(bool)
    low, high = (np.array([f(xs[here]), f(ys[here])]) for f in (np.min, np.max))
    side = max(*(high - low + 0.14 * wide), wide / 3)
    low = (low + high - side) / 2
    if stage["cells"]:
        low, side = np.array([stage["left"], stage["bottom"]]), wide
    scale = (right - left) / side
    place = lambda i, of: (  # noqa: E731
        left + (of["x"][i] - low[0]) * scale,
        bottom - (of["y"][i] - low[1]) * scale,
    )
    for k in range(int(wide) + 1) if stage["cells"] else ():
        at = k * scale
        picture.line([left + at, top, left + at, bottom], LINE)
        picture.line([left, top + at, right, top + at], LINE)
    kinds = [stage["kinds"][int(k)] for k in now.get("kind", [b["kind"] for b in stage["bodies"]])]
    shown = [i for i in range(len(kinds)) if "present" not in now or now["present"][i]]
    for i in shown:
        target, colour = int(now.get("target", [-1] * len(kinds))[i]), stage["bodies"][i]["team"]
        fired = "cooldown" not in now or (t > 0 and now["cooldown"][i] > before["cooldown"][i])
        if target >= 0 and fired:
            picture.line([*place(i, now), *place(target, now)], TEAMS[colour], 2)
    for i in sorted(shown, key=lambda i: stage["bodies"][i]["team"] != "obstacle"):
        (x, y), colour = place(i, now), TEAMS[stage["bodies"][i]["team"]]
        r = max(kinds[i]["radius"] * scale, 7)
        if "health" in now and now["health"][i] <= 0:
            for turn in (1, -1):
                picture.line([x - 4, y - 4 * turn, x + 4, y + 4 * turn], colour, 1.5)
            continue
        picture.disc(x, y, r, colour)
        if "health" in now:
            picture.arc(x, y, r + 4, float(now["health"][i]) / kinds[i]["health"], HEALTH)
        if stage["bodies"][i]["team"] != "obstacle":
            picture.text(x, y, kinds[i]["name"][0], PAPER, min(r * 1.2, 15), "mm")


def _payoffs(picture: Picture, header: Any, arrays: Arrays, one: Any, t: int) -> None:
    step = min(t, one["length"] - 1)
    table, (i, j) = row(arrays, one["scene"]["payoff"], step), row(arrays, one["action"], step)
    left, top, right, _ = ARENA
    cell = (right - left) / len(table)
    for (a, b), value in np.ndenumerate(table):
        chosen = (a, b) == (i, j)
        x, y = left + (b + 0.5) * cell, top + (a + 0.5) * cell
        picture.text(x, y, f"{value:.1f}", INK if chosen else SOFT, min(cell / 4, 22), "mm")
    corner = left + j * cell, top + i * cell
    picture.box((*corner, corner[0] + cell, corner[1] + cell), None, INK, 3)


def _observations(picture: Picture, header: Any, arrays: Arrays, one: Any, t: int) -> None:
    place = one["scene"]["obs"]
    _heat(picture, ARENA, row(arrays, place, t) / 255.0)


def _heat(picture: Picture, corners: Any, values: Any) -> None:
    """A table of fractions, dark for 1."""
    left, top, right, bottom = corners
    high, wide = (bottom - top) / len(values), (right - left) / len(values[0])
    paper, dark = np.array([251, 250, 248]), np.array([31, 95, 168])
    for (a, b), value in np.ndenumerate(values):
        if np.isfinite(value):
            x, y = left + b * wide, top + a * high
            colour = tuple(int(c) for c in paper + (dark - paper) * value)
            picture.box((x, y, x + wide - 1, y + high - 1), colour)


def _chart(picture: Picture, arrays: Arrays, one: Any, t: int) -> None:
    left, top, right, bottom = CHART
    n = one["length"]
    lines = {
        name: np.array([float(np.ravel(row(arrays, one[name], i))[0]) for i in range(n)])
        for name in ("followed", "q_tot")
    }
    low = min(0.0, *(values.min() for values in lines.values()))
    span = max(max(values.max() for values in lines.values()) - low, 0.1)
    picture.text(left, top - 14, "Q_tot, and in grey the return that followed", SOFT)
    picture.line([left, bottom, right, bottom], LINE)
    for name, colour in (("followed", FOLLOWED), ("q_tot", TEAMS["agent"])):
        x = left + (right - left) * np.arange(n) / max(n, 1)
        y = bottom - (bottom - top) * (lines[name] - low) / span
        if n > 1:
            picture.line(np.stack([x, y], axis=1), colour, 2)
        else:
            picture.disc(x[0], y[0], 3, colour)
    at = left + (right - left) * t / max(n, 1)
    picture.line([at, top, at, bottom], INK)
    for value, y in ((low, bottom), (low + span, top)):
        picture.text(left - 6, y, f"{value:.1f}", SOFT, 11, "rm")


def _values(picture: Picture, header: Any, arrays: Arrays, one: Any, t: int) -> None:
    left, top, right, bottom = VALUES
    values, can, action = (row(arrays, one[name], t) for name in ("values", "available", "action"))
    known = np.where(can, values, np.nan)
    low, high = (f(known, axis=1, keepdims=True) for f in (np.nanmin, np.nanmax))
    rows, wide = len(values), (right - left) / values.shape[1]
    high_of_row = min((bottom - top) / rows, 26)
    picture.text(left, top - 14, "values of actions, the chosen one framed", SOFT)
    corners = left, top, right, top + rows * high_of_row
    _heat(picture, corners, 0.08 + 0.7 * (known - low) / np.maximum(high - low, 1e-9))
    for i, a in enumerate(action):
        x, y = left + int(a) * wide, top + i * high_of_row
        picture.box((x, y, x + wide - 1, y + high_of_row - 1), None, INK, 2)
        picture.text(left - 4, y + high_of_row / 2, header["agents"][i], SOFT, 9, "rm")
