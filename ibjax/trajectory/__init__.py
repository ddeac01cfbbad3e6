"""What a run leaves behind: the trajectory, its file, and its forms in xarray and pandas."""

from ibjax.trajectory.merge import concatenate
from ibjax.trajectory.reading import load
from ibjax.trajectory.schema import TrajectoryError
from ibjax.trajectory.trajectory import Trajectory

__all__ = ["Trajectory", "TrajectoryError", "concatenate", "load"]
