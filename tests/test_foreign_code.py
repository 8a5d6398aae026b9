"""Code that comes with a model is never run, nor asked about: by each room that loads one."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Done
from tests.support.tiny_models import save_chat_model, save_vision_model
from trialigngr.embed.encoders import check_encoders, start_encoders
from trialigngr.embed.settings import EmbedSettings
from trialigngr.enrich.captions import check_captioner
from trialigngr.enrich.miners import check_miner
from trialigngr.enrich.settings import CaptionSettings, InterestSettings
from trialigngr.foundation.errors import TriAlignError
from trialigngr.llm.backends import start_language_model
from trialigngr.llm.settings import BackendSettings
from trialigngr.models.backbone import load_backbone
from trialigngr.models.build import build_backbone
from trialigngr.models.settings import BackboneSettings
from trialigngr.train.estimate import estimate_memory
from trialigngr.train.settings import TrainSettings

Cli = Callable[..., Done]
CLASSES = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoTokenizer",
           "AutoImageProcessor", "AutoProcessor")  # fmt: skip


def spoil(folder: Path, known: bool) -> Path:
    """Let all that a model folder holds name code that leaves a mark; return the mark."""
    mark = folder / "was-run"
    code = f"open({str(mark)!r}, 'w').close()\nclass Own: pass\n"
    (folder / "own.py").write_text(code, "utf-8")
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        path = folder / name
        body = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        body["auto_map"] = dict.fromkeys(CLASSES, "own.Own") | {"AutoTokenizer": ["own.Own", "own.Own"]}
        if name == "config.json" and not known:
            body["model_type"] = "own-kind"
        path.write_text(json.dumps(body), "utf-8")
    if not known:
        modules = [{"idx": 0, "name": "0", "path": "", "type": "own.Own"}]
        (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    return mark


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody, or a file in stdin, that says yes to whatever is asked."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")


def loads(folder: str) -> dict[str, Callable[[], Any]]:
    calls = BackendSettings()
    captions = CaptionSettings(generator="transformers", model=folder, device="cpu")
    interests = InterestSettings(generator="transformers", model=folder, device="cpu")
    gme = EmbedSettings(encoder="gme", model=folder, device="cpu")
    sentences = EmbedSettings(encoder="sentence-transformers", model=folder, device="cpu")
    backbone = BackboneSettings(name_or_path=folder)
    return {
        "captioner looked at": lambda: check_captioner(captions, calls, is_local=True),
        "captioner": lambda: start_language_model(captions, calls),
        "miner looked at": lambda: check_miner(interests, calls, is_local=True),
        "miner": lambda: start_language_model(interests, calls),
        "gme looked at": lambda: check_encoders(gme),
        "gme": lambda: start_encoders(gme),
        "sentences looked at": lambda: check_encoders(sentences),
        "sentences": lambda: start_encoders(sentences),
        "backbone planned": lambda: estimate_memory(backbone, TrainSettings(), 16),
        "backbone": lambda: build_backbone(backbone, ["<a_0>"], [], 0),
        "run": lambda: load_backbone(Path(folder), []),
    }


@pytest.mark.parametrize("load", loads(""))
def test_a_kind_of_its_own_is_a_sentence(load: str, tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    mark = spoil(model, known=False)
    with pytest.raises(TriAlignError) as caught:
        loads(str(model))[load]()
    assert not mark.exists()
    if load != "gme":  # which is opened as Qwen2-VL, whatever it says it is
        assert "code of its own" in str(caught.value)


@pytest.mark.parametrize("load", ["miner", "backbone planned", "backbone", "run"])
def test_a_known_kind_is_loaded_without_the_code_beside_it(load: str, tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    mark = spoil(model, known=True)
    loads(str(model))[load]()
    assert not mark.exists()


@pytest.mark.parametrize("load", ["captioner", "gme"])
def test_a_known_kind_that_sees_is_loaded_without_the_code_beside_it(load: str, tmp_path: Path) -> None:
    model = save_vision_model(tmp_path / "model", "qwen2_vl")
    mark = spoil(model, known=True)
    loads(str(model))[load]()
    assert not mark.exists()


def test_a_strangers_run_runs_nothing(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    mark = spoil(run / "model", known=False)
    done = cli("recommend", run, "--history", "p0001")
    assert (done.code, done.err.count("Error: ")) == (2, 1)
    assert "Traceback" not in done.err
    assert not mark.exists()


def test_every_load_says_so() -> None:
    """No call of a loader in the package, be it new, leaves it to a library to ask."""
    source, silent = Path(__file__).parents[1] / "src", []
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            loads_model = name in ("from_pretrained", "SentenceTransformer", "CrossEncoder")
            loads_model |= name == "from_config" and "Auto" in ast.unparse(node.func)
            told = any(one.arg == "trust_remote_code" and ast.unparse(one.value) == "False" for one in node.keywords)
            if loads_model and not told:
                silent.append(f"{path.name}:{node.lineno}")
    assert silent == []
