"""The encoder and decoder around a learned space (torch)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Float32Array, iter_row_slices


def make_mlp(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers of these widths with ReLU between them and nothing after the last."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(nn.Module):
    """x → (x − mean) / scale → linear map + MLP → latent, and back. Mean, scale and linear map come from the data.

    The linear map (principal directions; fixed) keeps what a projection can keep from the first step on, and the MLPs,
    whose last layers start at zero, learn the rest. ``bounded`` squashes latents, by their spread, into (−1, 1).
    """

    mean_D: Tensor
    scale: Tensor
    linear_DZ: Tensor
    unit_Z: Tensor
    bounded: Tensor

    def __init__(
        self, embedding_size: int, hidden_sizes: Sequence[int], latent_size: int, bounded: bool = False
    ) -> None:
        super().__init__()
        self.encoder = make_mlp([embedding_size, *hidden_sizes, latent_size])
        self.decoder = make_mlp([latent_size, *reversed(hidden_sizes), embedding_size])
        self.register_buffer("mean_D", torch.zeros(embedding_size))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("linear_DZ", torch.zeros(embedding_size, latent_size))
        self.register_buffer("unit_Z", torch.ones(latent_size))
        self.register_buffer("bounded", torch.tensor(float(bounded)))

    def init_from_data(self, vectors_ND: Tensor, linear_skip: bool) -> None:
        """Take mean, scale (so that one learning rate fits embeddings of any length) and linear map from the data."""
        self.mean_D.copy_(vectors_ND.mean(0))
        spread = float((vectors_ND - self.mean_D).square().mean().sqrt())
        floor = 1e-4 * float(vectors_ND.abs().max())  # of constant embeddings only rounding noise is left
        self.scale.fill_(max(spread, floor) or 1.0)
        if linear_skip:
            self.linear_DZ.copy_(pca_directions(vectors_ND - self.mean_D, self.linear_DZ.shape[1]))
            if self.bounded:
                self.unit_Z.copy_((((vectors_ND - self.mean_D) / self.scale) @ self.linear_DZ).std(0, correction=0))
                self.unit_Z.clamp_(min=1e-6)
            for parameter in (*self.encoder[-1].parameters(), *self.decoder[-1].parameters()):
                nn.init.zeros_(parameter)

    def encode(self, vectors_BD: Tensor) -> Tensor:
        """Return latents [B, Z]."""
        scaled_BD = (vectors_BD - self.mean_D) / self.scale
        latents_BZ: Tensor = scaled_BD @ self.linear_DZ / self.unit_Z + self.encoder(scaled_BD)
        return torch.tanh(latents_BZ) if self.bounded else latents_BZ

    def decode(self, latents_BZ: Tensor) -> Tensor:
        """Return vectors [B, D]."""
        vectors_BD: Tensor = (
            (latents_BZ * self.unit_Z) @ self.linear_DZ.T + self.decoder(latents_BZ)
        ) * self.scale + self.mean_D
        return vectors_BD

    def reconstruction_error(self, decoded_BD: Tensor, vectors_BD: Tensor) -> Tensor:
        """Return the mean squared error in units of the data's variance."""
        return F.mse_loss(decoded_BD, vectors_BD) / self.scale.square()

    def copy_weights(self) -> dict[str, Float32Array]:
        """Return a copy of the weights as numpy arrays."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self.state_dict().items()}


def pca_directions(centred_ND: Tensor, count: int) -> Tensor:
    """Return the ``count`` directions of largest variance [D, count], largest first; zero columns beyond D."""
    width = centred_ND.shape[1]
    if count == width:
        return torch.eye(width)
    _, vectors_DD = torch.linalg.eigh(centred_ND.T.double() @ centred_ND.double())
    found_DZ = vectors_DD.flip(1)[:, :count].float()
    return F.pad(found_DZ, (0, count - found_DZ.shape[1]))


def build_autoencoder(weights: dict[str, Float32Array]) -> Autoencoder:
    """Return the network whose weights these are; its widths are read off them.

    Raises `SidError` when they are not those of one network.
    """
    depth = sum(name.startswith("encoder.") and name.endswith(".weight") for name in weights)
    try:
        layers = [weights[f"encoder.{2 * index}.weight"] for index in range(depth)]
        network = Autoencoder(layers[0].shape[1], [len(layer) for layer in layers[:-1]], len(layers[-1]))
        network.load_state_dict({name: torch.from_numpy(tensor.copy()) for name, tensor in weights.items()})
    except (LookupError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(":.")
        raise SidError(f"The quantizer's network does not fit together ({reason}); fit it again.") from None
    return network.eval()


@torch.no_grad()
def apply_autoencoder(weights: dict[str, Float32Array], direction: str, rows_NX: Float32Array) -> Float32Array:
    """Send rows through the network the ``encode`` or ``decode`` way, a block at a time [N, Y]."""
    network = build_autoencoder(weights)
    step = network.encode if direction == "encode" else network.decode
    parts = [
        step(torch.from_numpy(np.ascontiguousarray(rows_NX[rows])))
        for rows in iter_row_slices(max(len(rows_NX), 1), 8192)
    ]
    return torch.cat(parts).numpy()
