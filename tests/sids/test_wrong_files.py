"""Files of strangers that are something else: one sentence with the file, the item or row, and what helps."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.support.commands import Done
from tests.support.data_folder import the_sentence
from trialigngr.foundation.artifact import record_files
from trialigngr.foundation.errors import TriAlignError
from trialigngr.sids.embeddings import read_embeddings
from trialigngr.sids.errors import SidError
from trialigngr.sids.formats import import_sids
from trialigngr.sids.formats import read_parquet as read_sids
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import LARGEST, SemanticIds

Cli = Callable[..., Done]
VECTORS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
IDS = [str(row) for row in range(12)]
LISTS = VECTORS.tolist()
CSV = "item_id,a\n0,1\n"


class Attack:
    """What a pickle may hold: a call."""

    def __reduce__(self) -> Any:
        return print, ("this code ran",)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SIDs alone, fitted on `VECTORS`."""
    from tests.support.commands import trialigngr

    folder = tmp_path_factory.mktemp("fitted")
    np.save(folder / "e.npy", VECTORS)
    assert trialigngr("sids", "fit", folder / "e.npy", "--out", folder / "sids", "--sizes", "4,4,4").code == 0
    return folder / "sids"


def frame(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"item_id": IDS} | columns, strict=False)


# name, content (bytes, an array, tensors, or a table), what the sentence says
EMBEDDINGS: list[tuple[str, Any, str]] = [
    *[(f"text.{kind}", CSV.encode(), "cannot be read as") for kind in ("npy", "safetensors", "parquet")],
    *[(f"empty.{kind}", b"", "cannot be read as") for kind in ("npy", "safetensors", "parquet")],
    *[(f"pickle.{kind}", pickle.dumps(Attack()), "cannot be read as") for kind in ("npy", "safetensors", "parquet")],
    ("archive.npy", b"PK\x03\x04 and more", r"it is an archive \(.npz\); save its one array"),
    ("objects.npy", np.array([[Attack()]], dtype=object), "holds Python objects, which are never read"),
    ("text.npy", np.array([["a", "b"]]), "Embeddings must be real numbers"),
    ("complex.npy", VECTORS.astype(np.complex64), "Embeddings must be real numbers, not complex64"),
    ("dates.npy", np.array([["2020-01-01"]], dtype="M8[D]"), "Embeddings must be real numbers"),
    ("flat.npy", VECTORS[0], r"holds an array of shape \(4,\)"),
    ("none.npy", VECTORS[:0], "N ≥ 1 rows"),
    ("nan.npy", np.where(VECTORS > 1, np.nan, VECTORS), "hold NaN or infinity, the first is that of item '"),
    ("huge.npy", VECTORS * np.float32(1e20), "hold numbers beyond ±1e\\+12, the first is that of item '0'"),
    ("cut.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", "cannot be read as a numpy array"),
    ("none.safetensors", {}, "holds no tensor; name the table of embeddings 'embeddings'"),
    ("two.safetensors", {"a": VECTORS, "b": VECTORS}, "holds a, b; name"),
    ("flags.safetensors", {"a": VECTORS > 0}, "Embeddings must be real numbers, not bool"),
    ("words.parquet", frame(title=IDS), "has no column of numbers"),
    ("lists.parquet", frame(e=[["a", "b"]] * 12), r"column 'e' holds List\(String\); lists of numbers"),
    ("nested.parquet", frame(e=[[[1.0, 2.0]]] * 12), r"column 'e' holds List\(List"),
    ("flags.parquet", frame(e=[[True, False]] * 12), "lists of numbers are needed"),
    ("uneven.parquet", frame(e=[*LISTS[:3], [1.0], *LISTS[4:]]), "row 3: 'e' holds 1 numbers, where others hold 4"),
    ("hole.parquet", frame(e=[*LISTS[:5], None, *LISTS[6:]]), "row 5: 'e' holds no numbers, where others hold 4"),
    ("holes.parquet", frame(e=pl.Series([[]] * 12, dtype=pl.List(pl.Float32))), "column 'e' holds no vector"),
    ("two.parquet", frame(e=LISTS, f=LISTS), r"several columns of lists \(e, f\)"),
    ("nobody.parquet", frame(e=LISTS, item_id=["0", None, *IDS[2:]]), "row 1: item_id is empty"),
    ("twice.parquet", frame(e=LISTS, item_id=["1", *IDS[1:]]), "names an item twice: '1'"),
    ("history.parquet", frame(e=LISTS, item_id=[[one] for one in IDS]), r"column 'item_id' is of type List\(String\)"),
    ("struct.parquet", frame(e=LISTS, item_id=[{"id": one} for one in IDS]), "column 'item_id' is of type Struct"),
]


def write(path: Path, content: Any) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif isinstance(content, pl.DataFrame):
        content.write_parquet(path)
    elif isinstance(content, torch.Tensor):
        torch.save(content, path)
    elif path.suffix == ".safetensors":
        save_file(content, path)
    else:
        path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(("name", "content", "sentence"), EMBEDDINGS)
def test_embeddings(name: str, content: Any, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / name, content)
    with pytest.raises(SidError, match=sentence) as refused:
        read_embeddings(path)
    assert str(path) in str(refused.value)
    assert "ran" not in capsys.readouterr().out


def test_a_type_that_numpy_does_not_have(tmp_path: Path):
    from safetensors.torch import save_file as save_tensors

    for kind in (torch.bfloat16, torch.float8_e4m3fn):
        save_tensors({"embeddings": torch.from_numpy(VECTORS).to(kind)}, tmp_path / "e.safetensors")
        with pytest.raises(SidError, match="save the tensor as float32 or float16"):
            read_embeddings(tmp_path / "e.safetensors")


@pytest.mark.parametrize(
    ("beside", "sentence"),
    [
        (CSV.encode(), "cannot be read as Parquet"),
        (pl.DataFrame({"id": IDS}), "has no column item_id; it has id"),
        (pl.DataFrame({"item_id": [None, *IDS[1:]]}), "row 0: item_id is empty"),
        (pl.DataFrame({"item_id": [[one] for one in IDS]}), "is of type List"),
    ],
)
def test_ids_beside_a_tensor(beside: Any, sentence: str, tmp_path: Path):
    save_file({"embeddings": VECTORS}, tmp_path / "embeddings.safetensors")
    path = write(tmp_path / "texts.parquet", beside)
    with pytest.raises(SidError, match=sentence) as refused:
        read_embeddings(tmp_path / "embeddings.safetensors")
    assert str(path) in str(refused.value)


def test_numbers_are_the_ids_of_their_digits(tmp_path: Path):
    for kind in (pl.Int64, pl.Float64, pl.String):
        numbers = pl.Series("item_id", range(12)).cast(kind if kind != pl.String else pl.Int64).cast(kind)
        pl.DataFrame({"item_id": numbers, "e": LISTS}).write_parquet(tmp_path / "e.parquet")
        assert read_embeddings(tmp_path / "e.parquet")[0] == IDS


UNREADABLE = "cannot be read as|that can be read safely"
GRID = torch.arange(12).view(3, 4)
SIDS: list[tuple[str, str, Any, str]] = [
    *[(kind, f"text.{kind}", CSV.encode(), UNREADABLE) for kind in ("lcrec", "grid", "flashrec", "parquet")],
    *[(kind, f"empty.{kind}", b"", UNREADABLE) for kind in ("lcrec", "grid", "flashrec", "parquet")],
    *[
        (kind, f"pickle.{kind}", pickle.dumps(Attack()), UNREADABLE)
        for kind in ("lcrec", "grid", "flashrec", "parquet")
    ],
    *[(kind, f"deep.{kind}", b"[" * 100_000, "nested too deeply") for kind in ("lcrec", "flashrec")],
    ("lcrec", "list.json", [["<a_1>"]], "must hold one JSON object, not a list"),
    ("lcrec", "numbers.json", {"p": [1, 2]}, r"item 'p' has \[1, 2\]; it needs a list such as"),
    ("lcrec", "nested.json", {"p": [["<a_1>"]]}, "item 'p' has"),
    ("lcrec", "null.json", {"p": None}, "item 'p' has None"),
    ("lcrec", "object.json", {"p": {"<a_1>": 1}}, "item 'p' has"),
    ("lcrec", "none.json", {"p": []}, "item 'p': '' is not a Semantic ID"),
    ("lcrec", "words.json", {"p": ["abc"]}, "item 'p': 'abc' is not a Semantic ID"),
    ("lcrec", "below.json", {"p": ["<a_-1>"]}, "item 'p': '<a_-1>' is not a Semantic ID"),
    (
        "lcrec",
        "large.json",
        {"p": [f"<a_{2**31}>"]},
        "item 'p' has the code 2147483648; codes are whole numbers from 0",
    ),
    ("lcrec", "larger.json", {"p": [f"<a_{LARGEST}>"]}, f"item 'p' has the code {LARGEST}"),
    ("lcrec", "digits.json", {"p": ["<a_" + "9" * 5000 + ">"]}, "item 'p': '<a_9+…' is not a Semantic ID"),
    ("lcrec", "long.json", {"p": ["<a_1>"] * 30}, "item 'p': .* is not a Semantic ID"),
    ("lcrec", "nobody.json", {}, "There are no SIDs to read"),
    ("grid", "fractions.pt", GRID.float(), "no table of whole numbers"),
    ("grid", "flags.pt", GRID > 1, "no table of whole numbers"),
    ("grid", "complex.pt", GRID.to(torch.complex64), "no table of whole numbers"),
    ("grid", "flat.pt", GRID[0], "no table of whole numbers"),
    ("grid", "sparse.pt", GRID.to_sparse(), "no table of whole numbers"),
    ("grid", "empty_rows.pt", GRID[:0], "item '0' has 0 codes"),
    ("grid", "nobody.pt", GRID[:, :0], "There are no SIDs to read"),
    ("grid", "below.pt", GRID - 1, "item '0' has the code -1"),
    ("grid", "large.pt", GRID + 2**31, "item '0' has the code 2147483648"),
    ("grid", "largest.pt", GRID + 2**40, "item '0' has the code 1099511627776"),
    ("grid", "tall.pt", torch.ones((30, 4), dtype=torch.long), "item '0' has 30 codes; a SID has 1 to 26"),
    ("flashrec", "words.json", {"a,b": [{"pid": "p"}]}, "'a,b' has"),
    ("flashrec", "below.json", {"-1,2": [{"pid": "p"}]}, "'-1,2' has"),
    ("flashrec", "end.json", {"0,-1": [{"pid": "p"}]}, "'0,-1' has"),
    ("flashrec", "fractions.json", {"1.5": [{"pid": "p"}]}, "'1.5' has"),
    ("flashrec", "large.json", {f"{2**31},2": [{"pid": "p"}]}, "item 'p' has the code 2147483648"),
    ("flashrec", "null.json", {"1,2": None}, "'1,2' has None; \"a,b,c\" → list of items is needed"),
    ("flashrec", "flag.json", {"1,2": True}, "'1,2' has True"),
    ("flashrec", "text.json", {"1,2": "abc"}, "'1,2' has 'abc'"),
    ("flashrec", "nobody.json", {"1,2": []}, "There are no SIDs to read"),
    ("parquet", "numbers.parquet", frame(sid=range(12)), "column 'sid' holds Int64; SIDs as text are needed"),
    ("parquet", "lists.parquet", frame(sid=[[1, 2]] * 12), r"column 'sid' holds List\(Int64\); SIDs as text"),
    ("parquet", "words.parquet", frame(sid=["<a_1>"] * 11 + ["x"]), "item '11': 'x' is not a Semantic ID"),
    ("parquet", "large.parquet", frame(sid=["<a_1>"] * 11 + [f"<a_{2**31}>"]), "item '11' has the code 2147483648"),
    ("parquet", "none.parquet", frame(sid=[None] * 12), "There are no SIDs to read"),
    ("parquet", "nobody.parquet", frame(sid=["<a_1>"] * 12, item_id=[None, *IDS[1:]]), "row 0: item_id is empty"),
    ("parquet", "columns.parquet", frame(sid=IDS, b_sid=IDS), "it has item_id, sid, b_sid; name one with --column"),
]


@pytest.mark.parametrize(("form", "name", "content", "sentence"), SIDS)
def test_sids(form: str, name: str, content: Any, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / name, content)
    with pytest.raises(SidError, match=sentence) as refused:
        import_sids(form, path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < len(str(path)) + 300
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("sizes", ["abc", "1 1", "4", "-4 4", f"4 {10**12}", "4 4 4"])
def test_sizes_in_the_metadata_that_do_not_fit(sizes: str, tmp_path: Path):
    frame(sid=["<a_1><b_2>"] * 12).write_parquet(tmp_path / "sids.parquet", metadata={"sizes": sizes})
    with pytest.raises(SidError, match=str(tmp_path)):
        read_sids(tmp_path / "sids.parquet")


def test_items_without_a_sid_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    frame(sid=["<a_1>"] * 11 + [None]).write_parquet(tmp_path / "sids.parquet")
    assert len(read_sids(tmp_path / "sids.parquet")) == 11
    assert "1 of 12 items have no SID and are left out" in capsys.readouterr().err


TABLES: list[tuple[str, Any, str]] = [
    ("text.parquet", CSV.encode(), "cannot be read as parquet"),
    ("empty.csv", b"", "cannot be read as csv"),
    ("latin.csv", "item_id,categories\n0,é\n".encode("latin1"), "is not UTF-8 (line 2)"),
    ("text.jsonl", b"hello\n", "cannot be read as jsonl"),
    ("table.txt", b"a", "is neither a folder with an items file nor a .parquet, .csv or .jsonl file"),
    ("nobody.parquet", pl.DataFrame({"categories": IDS}), "it has categories. Name a column item_id in it"),
    ("history.parquet", frame(item_id=[[one] for one in IDS], categories=IDS), "'item_id' is of type List(String)"),
    ("hole.parquet", frame(item_id=[None, *IDS[1:]], categories=IDS), "row 0: item_id is empty"),
    ("others.parquet", pl.DataFrame({"item_id": ["z"], "categories": ["A"]}), "names none of the 12 items with a SID"),
]
ITEMS: list[tuple[str, Any, str]] = [
    *TABLES,
    ("bare.parquet", frame(), "it has item_id. Name a column categories in it"),
    ("numbers.parquet", frame(categories=range(12)), "column 'categories' is of type Int64; a list of names"),
    ("fractions.parquet", frame(categories=[1.5] * 12), "column 'categories' is of numbers; a list of names"),
    ("lists.parquet", frame(categories=[[1]] * 12), "column 'categories' is of type List(Int64); a list of names"),
    ("twice.parquet", frame(item_id=["1", *IDS[1:]], categories=IDS), "names item '1' more than once"),
]


@pytest.mark.parametrize(
    ("option", "name", "content", "sentence"),
    [("--items", *case) for case in ITEMS] + [("--targets", *case) for case in TABLES],
)
def test_tables_beside(
    option: str, name: str, content: Any, sentence: str, fitted: Path, tmp_path: Path, cli: Cli
) -> None:
    path = write(tmp_path / name, content)
    told = the_sentence(cli("sids", "report", fitted, option, path))
    assert sentence in told
    assert str(path) in told


def test_what_has_no_sid_among_targets_is_counted(fitted: Path, tmp_path: Path, cli: Cli):
    write(tmp_path / "targets.parquet", pl.DataFrame({"item_id": [0.0, 1.0, 99.0]}))
    done = cli("sids", "report", fitted, "--targets", tmp_path / "targets.parquet")
    assert "1 of 3 targets have no SID and are left out" in done.err
    assert done.code == 0


def test_embeddings_of_another_width(fitted: Path, tmp_path: Path, cli: Cli):
    path = write(tmp_path / "e.npy", VECTORS[:, :2])
    named = write(tmp_path / "new.parquet", pl.DataFrame({"item_id": ["new"], "a": [1.0]}))
    for words in (
        ["report", fitted, "--embeddings", path],
        ["append", fitted, named, "--out", tmp_path / "grown"],
    ):
        told = the_sentence(cli("sids", *words))
        assert "the quantizer was fitted on 4" in told
    assert not (tmp_path / "grown").exists()


def test_a_quantizer_of_other_sids(fitted: Path, tmp_path: Path, cli: Cli):
    other = Path(shutil.copytree(fitted, tmp_path / "other"))
    SemanticIds(IDS, SemanticIds.load(fitted).codes_NL + np.int32(1), (5, 5, 5)).save(other)
    record_files(other)
    told = the_sentence(cli("sids", "report", other))
    assert "has codebooks of 4 × 4 × 4, and the SIDs beside it have other codes" in told


def tensors(change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda held: held | {"level.0.vectors": change(held["level.0.vectors"])}


@pytest.mark.parametrize(
    "change",
    [
        tensors(lambda one: one * np.float32(np.nan)),
        tensors(lambda one: one * np.float32(1e30)),
        tensors(lambda one: one[:, :2]),
        tensors(lambda one: one[0]),
        tensors(lambda one: one[:0]),
        lambda held: {name: tensor[:, :2] for name, tensor in held.items()},
        lambda held: {"other": held["level.0.vectors"]},
        lambda held: {name: one for name, one in held.items() if name != "level.1.vectors"},
    ],
)
def test_a_quantizer_that_does_not_fit_together(change: Any, fitted: Path, tmp_path: Path):
    from safetensors import safe_open

    own = fitted / "quantizer.safetensors"
    with safe_open(own, "numpy") as file:
        header = file.metadata()
    save_file({k: np.ascontiguousarray(v) for k, v in change(load_file(own)).items()}, tmp_path / "q", metadata=header)
    with pytest.raises(SidError, match="holds no quantizer that fits together"):
        Quantizer.load(tmp_path / "q")


@pytest.mark.parametrize(
    "header",
    [
        {"width": 3},
        {"width": "x"},
        {"beam": 0},
        {"space": "none"},
        {"space": "rotated"},
        {"settings": None},
        [],
        3,
        "{",
    ],
    ids=str,
)
def test_a_quantizer_with_another_header(header: Any, fitted: Path, tmp_path: Path):
    from safetensors import safe_open

    own = fitted / "quantizer.safetensors"
    with safe_open(own, "numpy") as file:
        told = json.loads(file.metadata()["trialigngr"])
    text = header if isinstance(header, str) else json.dumps(told | header if isinstance(header, dict) else header)
    save_file(load_file(own), tmp_path / "q", metadata={"trialigngr": text})
    with pytest.raises(SidError, match=str(tmp_path)):
        Quantizer.load(tmp_path / "q")


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop("codes"),
        lambda table: table.with_columns(codes=pl.lit([1])),
        lambda table: table.with_columns(codes=pl.lit([1.5, 1.0, 1.0])),
        lambda table: table.with_columns(codes=pl.lit(["a", "b", "c"])),
        lambda table: table.with_columns(codes=pl.lit([2**40, 0, 0])),
        lambda table: table.with_columns(codes=pl.lit([9, 9, 9]).cast(pl.List(pl.Int32))),
        lambda table: table.with_columns(item_id=pl.lit(None, pl.String)),
        lambda table: table.with_columns(item_id=pl.lit("1")),
        lambda table: table.with_columns(item_id=pl.lit([1])),
    ],
)
def test_a_folder_of_sids_that_holds_something_else(change: Any, fitted: Path, tmp_path: Path):
    own = fitted / "sids.parquet"
    change(pl.read_parquet(own)).write_parquet(tmp_path / "sids.parquet", metadata={"sizes": "4 4 4"})
    with pytest.raises(TriAlignError, match="holds no SIDs as they are written here"):
        SemanticIds.load(tmp_path)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["depth", "e.npy", "--levels", 0], "0 is not in the range 1<=x<=26"),
        (["depth", "e.npy", "--png", "curve.xyz"], "curve.xyz must end in .png, .svg or .pdf"),
        (["report", "sids", "--tsne", "folder"], "folder must end in .png"),
        (["fit", "e.npy", "--out", "x", "--set", "seed.x=1"], "seed is a setting, not a table of settings"),
        (
            ["fit", "e.npy", "--out", "x", "--set", "rqvae={learning_rate=1e30, epochs=2}", "--quantizer", "rqvae"],
            "it has diverged",
        ),
        (["fit", "e.npy", "--out", "x", "--sizes", "4,,4"], "codebook_sizes.1 = ''"),
    ],
)
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_options_that_make_no_sense(
    words: list[Any], sentence: str, fitted: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(fitted.parent)
    done = cli("sids", *words)
    assert done.code == 2
    assert sentence in done.err


def test_a_folder_from_which_all_was_removed(fitted: Path, tmp_path: Path, cli: Cli):
    empty = Path(shutil.copytree(fitted, tmp_path / "empty"))
    assert cli("sids", "remove", empty, *IDS).code == 0
    assert "empty holds no SID" in the_sentence(cli("sids", "report", empty))
