"""Finite scalar quantization: no codebook is learned, the latent is rounded to a grid (Mentzer et al., ICLR 2024).

Each level owns a few coordinates of the latent; its codes are the grid points of these. The network learns to use them.
"""

from __future__ import annotations

from itertools import product
from math import log, prod
from typing import TYPE_CHECKING

import numpy as np

from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks, Float32Array
from trialigngr.sids.quantizers.latent_spaces import LearnedSpace
from trialigngr.sids.quantizers.parameters import AutoencoderTraining
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.settings import FsqSettings

if TYPE_CHECKING:
    from trialigngr.sids.quantizers.bottleneck import GridBottleneck


def fit(
    vectors_ND: Float32Array,
    sizes: tuple[int, ...],
    settings: FsqSettings,
    seed: int,
    auxiliary_NC: Float32Array | None = None,
) -> Quantizer:
    """Return the network and the grid; a size that is no product of small numbers becomes the next that is."""
    from trialigngr.sids.quantizers.autoencoder import Autoencoder
    from trialigngr.sids.quantizers.bottleneck import GridBottleneck
    from trialigngr.sids.quantizers.training import init_autoencoder, train_autoencoders

    levels = make_grid_codebooks([choose_grid_steps(size) for size in sizes])
    latent = levels[0].vectors_KD.shape[1]

    def make_network() -> Autoencoder:
        return Autoencoder(vectors_ND.shape[1], settings.hidden_sizes, latent, bounded=True)

    def make_bottleneck(latents_NZ: Float32Array) -> GridBottleneck:
        return GridBottleneck(levels)

    training = AutoencoderTraining(settings.epochs, settings.batch_size, settings.learning_rate, settings.warmup_epochs)
    made = init_autoencoder(vectors_ND, make_network, True, make_bottleneck, seed)
    trained = train_autoencoders([made], training, seed)[0]
    return Quantizer(
        "fsq", settings.model_dump(mode="json"), vectors_ND.shape[1], LearnedSpace(trained.weights), levels
    )


def choose_grid_steps(size: int) -> list[int]:
    """Return how many steps each coordinate of a level has: about 8, their product as near below ``size`` as can be."""
    count = max(1, round(log(size) / log(8)))
    middle = size ** (1 / count)
    choices = range(max(1, int(middle * 0.6)), int(middle * 1.7) + 2)
    fitting = (
        chosen for chosen in product(choices, repeat=count) if prod(chosen) <= size and list(chosen) == sorted(chosen)
    )
    return list(max(fitting, key=lambda chosen: (prod(chosen), -max(chosen))))


def make_grid_codebooks(steps_of_levels: list[list[int]]) -> Codebooks:
    """Return one codebook a level: the grid over its own coordinates in [−1, 1], zero in those of the other levels."""
    width = sum(len(steps_S) for steps_S in steps_of_levels)
    levels, first = [], 0
    for steps_S in steps_of_levels:
        axes = [np.linspace(-1, 1, count) if count > 1 else np.zeros(1) for count in steps_S]
        codes_KZ = np.zeros((prod(steps_S), width), dtype=np.float32)
        codes_KZ[:, first : first + len(steps_S)] = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(
            -1, len(steps_S)
        )
        levels.append(Codebook(codes_KZ))
        first += len(steps_S)
    return Codebooks(levels)
