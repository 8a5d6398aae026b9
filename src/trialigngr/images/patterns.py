"""Which pattern covers a surface: measured from gradients and from where the surface looks like itself again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.images.colors import Float32Array

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SurfacePattern:
    """``name``, and the numbers it was read from.

    Attributes:
        energy: standard deviation of the surface (OKLab units).
        one_way: 0…1, how far all edges run in one direction; ``angle`` is that of the stripes in degrees (0 = level).
        two_way: 0…1, how far edges run in two directions at right angles.
        repeat: 0…1, height of the best second peak of the autocorrelation.

    """

    name: str
    energy: float
    one_way: float
    two_way: float
    angle: float
    periodicity: float


def erode_mask(mask_HW: BoolArray, steps: int) -> BoolArray:
    """Return the mask without its outermost ``steps`` pixels."""
    for _ in range(steps):
        padded = np.pad(mask_HW, 1)
        mask_HW = mask_HW & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask_HW


def project_main_channel(lab_HW3: Float32Array, mask_HW: BoolArray) -> Float32Array:
    """Return the surface [H, W] along the direction in colour space in which it varies most, mean 0 inside the mask."""
    inside = lab_HW3[mask_HW]
    centred = inside - inside.mean(axis=0, keepdims=True)
    directions = np.linalg.eigh(centred.T @ centred).eigenvectors
    channel: Float32Array = (lab_HW3 - inside.mean(axis=0, keepdims=True)) @ directions[:, -1]
    return channel


def _measure_edge_directions(field_HW: Float32Array, mask_HW: BoolArray) -> tuple[float, float, float]:
    """Return one_way, two_way and the angle of the stripes, from the gradients well inside the mask."""
    slopes_2HW = np.asarray(np.gradient(field_HW), np.float32)
    inner = erode_mask(mask_HW, 2)
    weight = (slopes_2HW**2).sum(0)[inner]
    total = float(weight.sum())
    if total <= 1e-9:
        return 0.0, 0.0, 0.0
    turn = np.arctan2(*slopes_2HW)[inner]
    double = complex((weight * np.exp(2j * turn)).sum()) / total
    fourfold = complex((weight * np.exp(4j * turn)).sum()) / total
    along = np.degrees(np.angle(double) / 2) + 90  # stripes run at right angles to the gradient
    return abs(double), abs(fourfold), float(-along % 180)  # image rows grow downwards, angles upwards


def _measure_periodicity(field_HW: Float32Array, mask_HW: BoolArray) -> float:
    """Return the height of the best peak of the autocorrelation away from zero shift."""
    size = [2 * length for length in field_HW.shape]
    signal = np.fft.rfft2(np.where(mask_HW, field_HW, 0), size)
    window = np.fft.rfft2(mask_HW.astype(np.float32), size)
    product = np.fft.fftshift(np.fft.irfft2(abs(signal) ** 2, size))
    overlap = np.fft.fftshift(np.fft.irfft2(abs(window) ** 2, size))
    middle_y, middle_x = size[0] // 2, size[1] // 2
    variance = product[middle_y, middle_x] / overlap[middle_y, middle_x]
    reach_y, reach_x = field_HW.shape[0] // 2, field_HW.shape[1] // 2
    near = np.s_[middle_y - reach_y : middle_y + reach_y + 1, middle_x - reach_x : middle_x + reach_x + 1]
    enough = overlap[near] > 0.25 * overlap[middle_y, middle_x]
    likeness = np.where(enough, product[near] / np.maximum(overlap[near], 1) / max(variance, 1e-9), -1)
    return max(0.0, _find_second_peak(likeness))


def _find_second_peak(likeness: Float32Array) -> float:
    """Return the highest local maximum that a valley of at least 0.25 below it parts from the central peak."""
    height, width = likeness.shape
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height // 2, x - width // 2)
    inner = likeness[1:-1, 1:-1]
    around = [likeness[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    is_peak = inner >= np.max(around, axis=0)
    best = 0.0
    for py, px in zip(*np.nonzero(is_peak & (distance[1:-1, 1:-1] > 3) & (inner > 0.1)), strict=True):
        steps = np.linspace(0, 1, int(distance[py + 1, px + 1]) + 2)
        rows = np.rint(height // 2 + steps * (py + 1 - height // 2)).astype(int)
        columns = np.rint(width // 2 + steps * (px + 1 - width // 2)).astype(int)
        if likeness[rows, columns].min() < inner[py, px] - 0.25:
            best = max(best, float(inner[py, px]))
    return best


def _name_direction(angle: float) -> str:
    if angle < 22.5 or angle >= 157.5:
        return "horizontal"
    return "vertical" if 67.5 <= angle < 112.5 else "diagonal"


def _name_pattern(energy: float, one_way: float, two_way: float, angle: float, periodicity: float, skew: float) -> str:
    if energy < 0.02:
        return "plain"
    if one_way > 0.65 and periodicity > 0.45:
        return f"{_name_direction(angle)} stripes"
    if periodicity > 0.45 and one_way < 0.5:
        # Checks give both colours the same room; dots leave most of it to the ground.
        return "checks" if two_way > 0.5 or (two_way > 0.35 and skew < 0.5) else "dots"
    if energy < 0.05:
        return "lightly textured"
    return "shaded" if one_way > 0.65 else "varied"


def find_pattern(lab_HW3: Float32Array, mask_HW: BoolArray) -> SurfacePattern:
    """Return the pattern of the surface OKLab [H, W, 3] inside the mask; ``plain`` when too little is left to judge."""
    inner = erode_mask(mask_HW, 2)
    if inner.sum() < 64:
        return SurfacePattern("plain", 0.0, 0.0, 0.0, 0.0, 0.0)
    field = project_main_channel(lab_HW3, inner)
    field = np.where(inner, field - field[inner].mean(), 0).astype(np.float32)
    energy = float(field[inner].std())
    one_way, two_way, angle = _measure_edge_directions(field, inner)
    repeat = _measure_periodicity(field, inner) if energy >= 0.02 else 0.0
    skew = float(abs((field[inner] ** 3).mean()) / max(energy, 1e-6) ** 3)
    return SurfacePattern(
        _name_pattern(energy, one_way, two_way, angle, repeat, skew), energy, one_way, two_way, angle, repeat
    )
