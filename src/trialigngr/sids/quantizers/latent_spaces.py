"""Ways into the space where codebooks lie, and back out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from trialigngr.sids.quantizers.codebooks import Float32Array


class LatentSpace(Protocol):
    """Vectors [N, D] ↔ latents [N, Z], row by row."""

    kind: ClassVar[str]

    def to_latents(self, vectors_ND: Float32Array) -> Float32Array:
        """Return the latents of vectors [N, Z]."""

    def to_vectors(self, latents_NZ: Float32Array) -> Float32Array:
        """Return the vectors that latents stand for [N, D]."""

    def to_tensors(self) -> dict[str, Float32Array]:
        """Return all that the space was learned as, by name."""

    @classmethod
    def from_tensors(cls, tensors: dict[str, Float32Array]) -> LatentSpace:
        """Read what `tensors` gave."""


@dataclass(frozen=True)
class IdentitySpace:
    """The space of the embeddings themselves."""

    kind: ClassVar[str] = "plain"

    def to_latents(self, vectors_ND: Float32Array) -> Float32Array:
        """Return the vectors."""
        return vectors_ND

    def to_vectors(self, latents_NZ: Float32Array) -> Float32Array:
        """Return the latents."""
        return latents_NZ

    def to_tensors(self) -> dict[str, Float32Array]:
        """Return nothing: nothing was learned."""
        return {}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Float32Array]) -> IdentitySpace:
        """Return the one such space."""
        return cls()


@dataclass(frozen=True)
class RotatedSpace:
    """Latents are ``(x − mean) @ rotation``; ``rotation_DZ`` has orthonormal rows (Z ≥ D), so distances stay."""

    mean_D: Float32Array
    rotation_DZ: Float32Array
    kind: ClassVar[str] = "rotated"

    def to_latents(self, vectors_ND: Float32Array) -> Float32Array:
        """Return the centred vectors, rotated."""
        latents_NZ: Float32Array = np.matmul(vectors_ND - self.mean_D, self.rotation_DZ)
        return latents_NZ

    def to_vectors(self, latents_NZ: Float32Array) -> Float32Array:
        """Return the latents turned back, around the mean."""
        vectors_ND: Float32Array = np.matmul(latents_NZ, self.rotation_DZ.T) + self.mean_D
        return vectors_ND

    def to_tensors(self) -> dict[str, Float32Array]:
        """Return mean and rotation."""
        return {"mean": self.mean_D, "rotation": self.rotation_DZ}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Float32Array]) -> RotatedSpace:
        """Read what `tensors` gave."""
        return cls(tensors["mean"], tensors["rotation"])


@dataclass(frozen=True)
class LearnedSpace:
    """Latents are the output of a trained network (`network.Autoencoder`), whose weights these are."""

    weights: dict[str, Float32Array]
    kind: ClassVar[str] = "learned"

    def to_latents(self, vectors_ND: Float32Array) -> Float32Array:
        """Return what the encoder makes of the vectors."""
        from trialigngr.sids.quantizers.autoencoder import apply_autoencoder

        return apply_autoencoder(self.weights, "encode", vectors_ND)

    def to_vectors(self, latents_NZ: Float32Array) -> Float32Array:
        """Return what the decoder makes of the latents."""
        from trialigngr.sids.quantizers.autoencoder import apply_autoencoder

        return apply_autoencoder(self.weights, "decode", latents_NZ)

    def to_tensors(self) -> dict[str, Float32Array]:
        """Return the network's weights."""
        return self.weights

    @classmethod
    def from_tensors(cls, tensors: dict[str, Float32Array]) -> LearnedSpace:
        """Read what `tensors` gave."""
        return cls(tensors)


SPACES: dict[str, type[LatentSpace]] = {"plain": IdentitySpace, "rotated": RotatedSpace, "learned": LearnedSpace}
