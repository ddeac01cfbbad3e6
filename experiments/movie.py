"""The information plane of the paper's run animated over training: MP4 where ffmpeg is found, GIF otherwise.

The figure beside it shows five stills.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
from common import Finding, Runs
from matplotlib.figure import Figure

import ibjax
from ibjax import figures

NAME = "movie"


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """The paper's run."""
    return {"paper": common.paper(quick)}


def measure(runs: Runs) -> list[Finding]:
    """A film claims nothing that `snapshots` does not measure."""
    return []


def figure(runs: Runs) -> Figure:
    """Stills at powers of ten."""
    run = runs["paper"]
    stills = [0, *(epoch for epoch in (10, 100, 1000) if epoch < run.epochs[-1]), int(run.epochs[-1])]
    return figures.plane_snapshots(run, stills)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, film, write."""
    options = common.parser(__doc__).parse_args(argv)
    runs = common.train(configs(options.quick), options.out, options.seeds)
    frames, fps, dpi = (8, 4, 60) if options.quick else (200, 20, 150)
    print(figures.save_animation(runs["paper"], options.out / NAME, frames=frames, fps=fps, dpi=dpi))
    common.write(NAME, measure(runs), figure(runs), options.out, options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
