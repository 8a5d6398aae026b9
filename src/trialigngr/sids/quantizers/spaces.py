"""Ways into the space where codebooks lie, and back out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from trialigngr.sids.quantizers.levels import Vectors


class Space(Protocol):
    """Vectors [N, D] ↔ latents [N, Z], row by row."""

    kind: ClassVar[str]

    def enter(self, vectors_ND: Vectors) -> Vectors:
        """Return the latents of vectors [N, Z]."""

    def leave(self, latents_NZ: Vectors) -> Vectors:
        """Return the vectors that latents stand for [N, D]."""

    def tensors(self) -> dict[str, Vectors]:
        """Return all that the space was learned as, by name."""

    @classmethod
    def from_tensors(cls, tensors: dict[str, Vectors]) -> Space:
        """Read what `tensors` gave."""


@dataclass(frozen=True)
class Plain:
    """The space of the embeddings themselves."""

    kind: ClassVar[str] = "plain"

    def enter(self, vectors_ND: Vectors) -> Vectors:
        """Return the vectors."""
        return vectors_ND

    def leave(self, latents_NZ: Vectors) -> Vectors:
        """Return the latents."""
        return latents_NZ

    def tensors(self) -> dict[str, Vectors]:
        """Return nothing: nothing was learned."""
        return {}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Vectors]) -> Plain:
        """Return the one such space."""
        return cls()


@dataclass(frozen=True)
class Rotated:
    """Latents are ``(x − mean) @ rotation``; ``rotation_DZ`` has orthonormal rows (Z ≥ D), so distances stay."""

    mean_D: Vectors
    rotation_DZ: Vectors
    kind: ClassVar[str] = "rotated"

    def enter(self, vectors_ND: Vectors) -> Vectors:
        """Return the centred vectors, rotated."""
        latents_NZ: Vectors = np.matmul(vectors_ND - self.mean_D, self.rotation_DZ)
        return latents_NZ

    def leave(self, latents_NZ: Vectors) -> Vectors:
        """Return the latents turned back, around the mean."""
        vectors_ND: Vectors = np.matmul(latents_NZ, self.rotation_DZ.T) + self.mean_D
        return vectors_ND

    def tensors(self) -> dict[str, Vectors]:
        """Return mean and rotation."""
        return {"mean": self.mean_D, "rotation": self.rotation_DZ}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Vectors]) -> Rotated:
        """Read what `tensors` gave."""
        return cls(tensors["mean"], tensors["rotation"])


@dataclass(frozen=True)
class Learned:
    """Latents are the output of a trained network (`network.Autoencoder`), whose weights these are."""

    weights: dict[str, Vectors]
    kind: ClassVar[str] = "learned"

    def enter(self, vectors_ND: Vectors) -> Vectors:
        """Return what the encoder makes of the vectors."""
        from trialigngr.sids.quantizers.network import run

        return run(self.weights, "encode", vectors_ND)

    def leave(self, latents_NZ: Vectors) -> Vectors:
        """Return what the decoder makes of the latents."""
        from trialigngr.sids.quantizers.network import run

        return run(self.weights, "decode", latents_NZ)

    def tensors(self) -> dict[str, Vectors]:
        """Return the network's weights."""
        return self.weights

    @classmethod
    def from_tensors(cls, tensors: dict[str, Vectors]) -> Learned:
        """Read what `tensors` gave."""
        return cls(tensors)


SPACES: dict[str, type[Space]] = {"plain": Plain, "rotated": Rotated, "learned": Learned}
