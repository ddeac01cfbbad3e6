"""Data sets: a finite set of input patterns X, with the distribution of the label Y given each."""

from ibjax.data.dataset import Dataset
from ibjax.data.files import load_dataset
from ibjax.data.images import digits_dataset, fashion_mnist_dataset
from ibjax.data.spherical import DATASETS, spherical_dataset

__all__ = [
    "DATASETS",
    "Dataset",
    "digits_dataset",
    "fashion_mnist_dataset",
    "load_dataset",
    "spherical_dataset",
]
