"""The information bottleneck of a joint distribution: its curve, its bifurcations, and how near a layer comes to it."""

from ibjax.bottleneck.curve import CriticalBetas, Curve, critical_betas, encoder, information_curve
from ibjax.bottleneck.optimality import LayerOptimality, layer_beta, random_encoder_control

__all__ = [
    "CriticalBetas",
    "Curve",
    "LayerOptimality",
    "critical_betas",
    "encoder",
    "information_curve",
    "layer_beta",
    "random_encoder_control",
]
