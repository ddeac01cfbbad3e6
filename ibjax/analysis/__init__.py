"""What an ensemble's trajectory says; needs nothing but the trajectory."""

from ibjax.analysis.bounds import BoundsReport, Violations, check_bounds
from ibjax.analysis.phases import (
    Compression,
    NormalisedGradients,
    PhaseChange,
    SummaryRow,
    compression,
    epochs_to_relevance,
    normalised_gradients,
    phase_change,
    snr,
    summary,
)
from ibjax.analysis.statistics import Estimate, mean_over_seeds, streamed_mean

__all__ = [
    "BoundsReport",
    "Compression",
    "Estimate",
    "NormalisedGradients",
    "PhaseChange",
    "SummaryRow",
    "Violations",
    "check_bounds",
    "compression",
    "epochs_to_relevance",
    "mean_over_seeds",
    "normalised_gradients",
    "phase_change",
    "snr",
    "streamed_mean",
    "summary",
]
