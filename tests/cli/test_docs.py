"""The written pages name every command and setting, and a stale page is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from trialigngr.cli.docs import FIRST_SETTINGS, main, render_command_page, render_settings_page
from trialigngr.cli.main import COMMANDS
from trialigngr.recipes.recipe import Recipe


def settings(model: type[BaseModel], path: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += settings(kind, f"{path}{name}.")
        else:
            found.append(f"{path}{name}")
    return found


def test_every_command_has_its_page() -> None:
    page = render_command_page()
    assert all(f"## trialigngr {name}\n\n```text\nUsage: trialigngr {name}" in page for name in COMMANDS)


def test_every_setting_has_a_row_that_says_what_it_means() -> None:
    rows = {row.split("`")[1]: row for row in render_settings_page().splitlines() if row.startswith("| `")}
    assert set(rows) == set(settings(Recipe))
    silent = [name for name, row in rows.items() if row.rstrip(" |").endswith(("`", "none"))]
    assert silent == []


def test_the_settings_that_people_turn_first_lead_to_their_rows() -> None:
    page = render_settings_page()
    assert len(FIRST_SETTINGS) == 25
    for name in FIRST_SETTINGS:
        assert f"- [`{name}`](#{name}): " in page
        assert sum(f'<a id="{name}"></a>' in row for row in page.splitlines() if row.startswith(f"| `{name}` |")) == 1


def test_rows_are_told_as_toml_has_them() -> None:
    page = render_settings_page()
    assert "| `catalog.min_rating` | number or none | none | Keep" in page
    assert "| `catalog.k_core` | whole number (≥ 0) | `5` | Every" in page
    assert '| `catalog.split` | `"leave-last"`, `"global-temporal"` | `"leave-last"` | Test' in page
    assert "| `embeddings.use_images` | true or false | `true` | Let" in page
    assert "| `sids.codebook_sizes` | list of whole number (≥ 1, ≤ 1048576) | `[4096, 2048, 1024]` | Codebook" in page


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == (
        "docs/cli.md and docs/settings.md: not what the code says; run `python -m trialigngr.cli.docs`.\n"
    )
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    (tmp_path / "cli.md").write_text("old")
    capsys.readouterr()
    assert main(["--check"], tmp_path) == 1
    assert "docs/cli.md: not" in capsys.readouterr().err


def test_the_project_s_pages_are_current(root: Path) -> None:
    assert main(["--check"], root / "docs") == 0
