"""Figures of a trajectory, drawn on the axes given or on new ones of a journal column's width.

Every function takes a trajectory, the ensemble, and returns the `Axes` (or `Figure`) it drew on: those given as `ax`,
or new ones. Save with `axes.figure.savefig(path)`. No pyplot, no change of global settings. Diverged seeds are left
out, and the figure says how many. Information in bits, losses in nats, time in completed epochs.
"""

from ibjax.figures.bottleneck import information_curve
from ibjax.figures.movie import animate, save_animation
from ibjax.figures.over_epochs import gradients, information_over_epochs, loss_and_accuracy, snr, weight_norms
from ibjax.figures.plane import plane_snapshot, plane_snapshots, plane_trajectories, planes
from ibjax.figures.style import COLUMN, letter, side_by_side, style

__all__ = [
    "COLUMN",
    "animate",
    "gradients",
    "information_curve",
    "information_over_epochs",
    "letter",
    "loss_and_accuracy",
    "plane_snapshot",
    "plane_snapshots",
    "plane_trajectories",
    "planes",
    "save_animation",
    "side_by_side",
    "snr",
    "style",
    "weight_norms",
]
