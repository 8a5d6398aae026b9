"""MovieLens: ml-latest*, 20m, 25m, 32m (csv), ml-100k (``u.data``, ``u.item``), ml-1m, ml-10m (``::`` in ``.dat``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from trialigngr.datasets.readers.lines import (
    malformed_line_error,
    read_header,
    read_numbered_lines,
    scan_delimited_file,
)
from trialigngr.datasets.readers.tables import DataTables
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.separated import BrokenTableError, find_repeated, split_line

RATINGS_HEADER = "userId,movieId,rating,timestamp"
FILMS_HEADER = "movieId,title,genres"
RATING_COLUMNS = ["user_id", "item_id", "rating", "timestamp"]
RATING_SCHEMA: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "rating": pl.Float64(),
    "timestamp": pl.Int64(),
}
GENRES_100K = """unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir
    Horror Musical Mystery Romance Sci-Fi Thriller War Western""".split()  # noqa: SIM905 (a list of 19 lines would hide the order)
"""The order of the flags in ``u.item`` (``u.genre``)."""
NO_GENRE = ("(no genres listed)", "unknown", "")
FALLBACK_ENCODING = "latin-1"
FilmRow = dict[str, object]


def read_tables(source: Path, scratch: Path) -> DataTables:
    """Return the tables of the MovieLens that lies in the folder; genres are categories, tags stay where they are."""
    forms = {"ratings.csv": _read_csv, "u.data": _read_100k, "ratings.dat": _read_dat}
    for name, form in forms.items():
        if (source / name).is_file():
            return form(source)
    raise CatalogError(f"{source} is no MovieLens folder: it holds none of {', '.join(forms)}.")


def _read_film_lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise CatalogError(f"{path} is missing: the films are in it.")
    return read_numbered_lines(path, fallback=FALLBACK_ENCODING)


def _make_film_table(films: list[FilmRow], **attributes: pl.DataType) -> pl.LazyFrame:
    schema = {"item_id": pl.String(), "title": pl.String(), "categories": pl.List(pl.String()), **attributes}
    return pl.DataFrame(films, schema=schema, orient="row").lazy()


def _make_film_row(item_id: str, title: str, genres: list[str], **attributes: str | None) -> FilmRow:
    return {
        "item_id": item_id,
        "title": title.strip() or None,
        "categories": [genre for genre in genres if genre not in NO_GENRE],
        **{name: value or None for name, value in attributes.items()},
    }


def _read_csv(source: Path) -> DataTables:
    if read_header(source / "ratings.csv") != RATINGS_HEADER:
        raise malformed_line_error(source / "ratings.csv", 1, f"the header is not {RATINGS_HEADER}")
    ratings = scan_delimited_file(source / "ratings.csv", ",", RATING_COLUMNS, RATING_SCHEMA, skip_header=True)
    if next(_read_film_lines(source / "movies.csv"), (1, ""))[1] != FILMS_HEADER:
        raise malformed_line_error(source / "movies.csv", 1, f"the header is not {FILMS_HEADER}")
    films = _make_film_table(
        [_make_film_row(row[0], row[1], row[2].split("|")) for row in _read_csv_rows(source / "movies.csv")]
    )
    if (source / "links.csv").is_file():
        links = [tuple(value or None for value in row) for row in _read_csv_rows(source / "links.csv")]
        if twice := find_repeated([str(item_id) for item_id, *_ in links]):
            raise CatalogError(
                f"{source / 'links.csv'}: film {twice[0]!r} stands more than once; leave one line of it."
            )
        names = {"item_id": pl.String(), "imdb_id": pl.String(), "tmdb_id": pl.String()}
        films = films.join(
            pl.DataFrame(links, schema=names, orient="row").lazy(), on="item_id", how="left", maintain_order="left"
        )
    return DataTables(films, ratings, source / "movies.csv", header_lines=1)


def _read_csv_rows(path: Path) -> Iterator[list[str]]:
    lines = _read_film_lines(path)
    next(lines, None)
    for number, line in lines:
        try:
            row = split_line(line, ",", number)
        except BrokenTableError as error:
            raise malformed_line_error(path, number, error.why) from None
        if len(row) != 3:
            raise malformed_line_error(path, number, f"not 3 fields: {line[:80]!r}")
        yield row


def _read_100k(source: Path) -> DataTables:
    ratings = scan_delimited_file(source / "u.data", "\t", RATING_COLUMNS, RATING_SCHEMA)
    films = []
    for number, line in _read_film_lines(source / "u.item"):
        fields = line.split("|")
        if len(fields) != 5 + len(GENRES_100K):
            raise malformed_line_error(source / "u.item", number, f"not {5 + len(GENRES_100K)} fields: {line[:80]!r}")
        genres = [genre for genre, flag in zip(GENRES_100K, fields[5:], strict=True) if flag == "1"]
        films.append(_make_film_row(fields[0], fields[1], genres, release_date=fields[2]))
    return DataTables(_make_film_table(films, release_date=pl.String()), ratings, source / "u.item")


def _read_dat(source: Path) -> DataTables:
    ratings = scan_delimited_file(source / "ratings.dat", "::", RATING_COLUMNS, RATING_SCHEMA)
    films = []
    for number, line in _read_film_lines(source / "movies.dat"):
        fields = line.split("::")
        if len(fields) != 3:
            raise malformed_line_error(source / "movies.dat", number, f"not 3 fields: {line[:80]!r}")
        films.append(_make_film_row(fields[0], fields[1], fields[2].split("|")))
    return DataTables(_make_film_table(films), ratings, source / "movies.dat")
