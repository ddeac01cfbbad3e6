"""The information plane of the paper's run animated over training: MP4 where ffmpeg is found, GIF otherwise.

The figure beside it shows six stills. A film claims nothing that `snapshots` does not measure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
from common import Plan, Runs
from matplotlib.figure import Figure

import ibjax
from ibjax import figures

NAME = "movie"


def configs(plan: Plan) -> dict[str, ibjax.Config]:
    """The paper's run."""
    return {"paper": plan.paper()}


def figure(runs: Runs) -> Figure:
    """Stills at powers of ten, about."""
    run = runs["paper"]
    stills = [0, *(epoch for epoch in (10, 100, 400, 1000) if epoch < run.epochs[-1]), int(run.epochs[-1])]
    return figures.plane_snapshots(run, stills)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, film, write."""
    options = common.parser(__doc__).parse_args(argv)
    plan = common.plan_of(options)
    runs = common.train(configs(plan), options.out)
    frames, fps, dpi = (8, 4, 60) if plan.quick else (200, 20, 150)
    print(figures.save_animation(runs["paper"], options.out / NAME, frames=frames, fps=fps, dpi=dpi))
    common.write(NAME, [], {NAME: figure(runs)}, options.out, plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
