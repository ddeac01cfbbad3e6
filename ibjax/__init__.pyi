from . import analysis as analysis
from . import bottleneck as bottleneck
from . import figures as figures
from .bottleneck.curve import Curve as Curve
from .bottleneck.curve import information_curve as information_curve
from .config import PRESETS as PRESETS
from .config import Config as Config
from .data.dataset import Dataset as Dataset
from .data.files import load_dataset as load_dataset
from .data.images import digits_dataset as digits_dataset
from .data.spherical import spherical_dataset as spherical_dataset
from .ensemble.checkpoint import CheckpointError as CheckpointError
from .ensemble.remeasure import measure as measure
from .ensemble.run import run as run
from .information.apply import adaptive_information as adaptive_information
from .information.apply import kde_information as kde_information
from .information.apply import knn_information as knn_information
from .information.apply import noisy_information as noisy_information
from .information.apply import quantile_information as quantile_information
from .information.apply import quantized_information as quantized_information
from .information.histogram import layer_information as layer_information
from .progress import Progress as Progress
from .trajectory import Trajectory as Trajectory
from .trajectory import TrajectoryError as TrajectoryError
from .trajectory import concatenate as concatenate
from .trajectory import load as load

__version__: str
