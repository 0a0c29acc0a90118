"""The picture of the plasticity benchmark."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure


def draw(
    losses: Mapping[str, np.ndarray], fits: Mapping[str, Sequence[tuple[float, float]]]
) -> bytes:
    """Draw both tests as a PNG.

    Args:
      losses: Method -> relative loss after each task of the chain, ``[S, F]``; shown as its mean.
      fits: Method -> (mean, half interval) of the expressivity test by number of dormant neurons.

    Returns:
      The bytes of the picture.
    """
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    colours = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    for i, (name, loss) in enumerate(losses.items()):
        colour = colours[i % len(colours)]
        shown = np.maximum(loss.mean(axis=0), 1e-6)
        left.plot(np.arange(1, shown.size + 1), shown, color=colour, lw=1.6, label=name)
        mean, half = np.array(fits[name]).T
        right.errorbar(np.arange(len(mean)), mean, half, color=colour, lw=1.2, capsize=2)
    left.set(yscale="log", xlabel="task", ylabel="loss / variance at the end of the task")
    left.set_title("random labels, task after task: mean over seeds", fontsize=10)
    right.set(xlabel="dormant neurons of 4 at the start", ylabel="loss / variance")
    right.set_title("expressivity: mean and 95 % interval", fontsize=10)
    right.set_xticks(range(4))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right", frameon=False, fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
