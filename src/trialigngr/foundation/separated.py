"""Tables of text with a separator (CSV, TSV): how one is to be read so that every record stays a row.

Readers guess where a quote is out of place, and a wrong guess makes one row of many lines. Here every quote, and the
number of fields of every record, is checked first; what can be read in two ways is refused with its line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
BLOCK = 1 << 22
MAX_RECORD_BYTES = 1 << 24
"""Bytes of one record at most; a quote that is open for longer was never closed."""
BOM = b"\xef\xbb\xbf"
QUOTE, NEWLINE, RETURN = b'"\n\r'
SEPARATORS = ",;\t|"
TWICE = 'write a quote within a text twice ("") and put the text in quotes, or give the table as Parquet'


class BrokenTableError(ValueError):
    """A line that cannot be read, or that could be read in two ways."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line, self.why = line, why


class _StrayQuoteError(Exception):
    """A quote stands where no CSV writer puts one."""


@dataclass(frozen=True)
class Form:
    """How a table is read. ``quotes``: ``doubled`` as the standard has it, ``none`` where each quote is a letter, or
    ``mixed`` where texts in quotes stand beside quotes that are letters (`read_mixed`)."""

    separator: str
    names: list[str]
    records: int
    quotes: Literal["doubled", "none", "mixed"]
    blank_lines: bool


@dataclass
class _Count:
    """What was seen of a table so far."""

    separator: str
    names: list[str]
    lines: int = 0
    records: int = 0
    quoted: bool = False
    blank_lines: bool = False
    folded: list[int] = field(default_factory=list)
    """The first line of the first record of several lines, while each such record could be several."""
    unfolded: bool = False


def detect_table_format(file: BinaryIO, separators: str = SEPARATORS) -> Form:
    """Return how a table in UTF-8 is read; the separator is the one that its first line has most of.

    Raises `BrokenTableError` for a record with too few or too many fields, and for quotes that can be read in two ways.
    """
    try:
        return _examine_doubled(file, separators)
    except _StrayQuoteError:
        return _examine_loose(file, separators)


def _read_header(file: BinaryIO, separators: str) -> tuple[str, list[str]]:
    """Return separator and names of the first line that is not blank."""
    file.seek(0)
    first = next((line for line in file if line.removeprefix(BOM).strip()), b"").removeprefix(BOM)
    text = first.decode("utf-8").rstrip("\r\n")
    separator = separator_of(text, separators)
    return separator, split_line(text, separator, 1)


def separator_of(line: str, separators: str) -> str:
    """Return the separator that a line has most of outside of quotes; the first one where it has none."""
    return max(separators, key=re.sub(r'"[^"]*"', "", line).count)


def _examine_doubled(file: BinaryIO, separators: str) -> Form:
    """Return the form of a table with quotes where the standard puts them; raise `_StrayQuoteError` for any other."""
    try:
        seen = _Count(*_read_header(file, separators))
    except BrokenTableError:
        raise _StrayQuoteError from None
    for records in _whole_records(file):
        _count_records(records, seen)
    if seen.folded and not seen.unfolded:
        raise BrokenTableError(
            seen.folded[0],
            "a quote opens a text that goes on in the next line, though each line is a whole record by itself; "
            + TWICE,
        )
    return Form(seen.separator, seen.names, seen.records - 1, "doubled" if seen.quoted else "none", seen.blank_lines)


def _whole_records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the file in blocks that end where a line ends outside of quotes."""
    file.seek(0)
    rest, start = b"", True
    while block := file.read(BLOCK):
        block = rest + (block.removeprefix(BOM) if start else block)
        start = False
        cut = _last_end(block) + 1
        if len(block) - cut > MAX_RECORD_BYTES:
            raise _StrayQuoteError
        if cut:
            yield block[:cut]
        rest = block[cut:]
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _last_end(block: bytes) -> int:
    """Return the place of the last line's end outside of quotes, or -1."""
    place = block.rfind(b"\n")
    quotes = block.count(b'"', 0, max(place, 0))
    while place >= 0 and quotes % 2:
        before = block.rfind(b"\n", 0, place)
        quotes -= block.count(b'"', max(before, 0), place)
        place = before
    return place


def _count_records(block: bytes, seen: _Count) -> None:
    """Add a block of whole records to what was seen; raise `_StrayQuoteError` or `BrokenTableError`."""
    data = np.frombuffer(block, dtype=np.uint8)
    marked = (data == ord(seen.separator)) | (data == NEWLINE)
    if b'"' in block:
        quotes = data == QUOTE
        _check_quotes(data, np.flatnonzero(quotes), ord(seen.separator))
        marked &= ~np.bitwise_xor.accumulate(quotes)
        seen.quoted = True
    marks = np.flatnonzero(marked)
    ends_line, fields = data[marks] == NEWLINE, len(seen.names)
    records = int(ends_line.sum())
    if fields == 1 or records * fields != len(marks) or not ends_line[fields - 1 :: fields].all():
        records -= _count_blank(block, data, marks, seen)
    lines = block.count(b"\n")
    if lines > ends_line.sum() and not seen.unfolded:
        _weigh_folds(block, marks[ends_line], seen)
    seen.lines += lines
    seen.records += records


def _check_quotes(data: npt.NDArray[np.uint8], quotes: Places, separator: int) -> None:
    """Raise `_StrayQuoteError` unless quotes open behind, and close before, a separator or the end of a line."""
    if len(quotes) % 2:
        raise _StrayQuoteError
    outside = np.zeros(256, dtype=np.bool_)
    outside[[separator, NEWLINE, QUOTE]] = True
    opened = quotes[2 if quotes[0] == 0 else 0 :: 2]
    if not outside[data[opened - 1]].all():
        raise _StrayQuoteError
    outside[RETURN] = True
    if not outside[data[quotes[1::2] + 1]].all():
        raise _StrayQuoteError


def _count_blank(block: bytes, data: npt.NDArray[np.uint8], marks: Places, seen: _Count) -> int:
    """Return how many records are blank lines; raise `BrokenTableError` for one that lacks or exceeds fields."""
    ends_line, wanted = data[marks] == NEWLINE, len(seen.names) - 1
    ends = marks[ends_line]
    starts = np.concatenate([[0], ends[:-1] + 1])
    found = np.diff(np.flatnonzero(ends_line), prepend=-1) - 1
    blank = (ends == starts) | ((ends == starts + 1) & (data[starts] == RETURN))
    ragged = np.flatnonzero((found != wanted) & ~blank)
    if len(ragged):
        line = seen.lines + block.count(b"\n", 0, int(starts[ragged[0]])) + 1
        raise BrokenTableError(line, f"it has {found[ragged[0]] + 1} fields where the first line has {wanted + 1}")
    seen.blank_lines |= bool(blank.any())
    return int(blank.sum())


def _weigh_folds(block: bytes, ends: Places, seen: _Count) -> None:
    """Note whether records of several lines are ones: at least one has a line that could be no record by itself."""
    separator, wanted = seen.separator.encode(), len(seen.names) - 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    newlines = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == NEWLINE)
    held = np.searchsorted(newlines, ends) - np.searchsorted(newlines, starts)
    for place in np.flatnonzero(held):
        lines = block[starts[place] : ends[place]].split(b"\n")
        if any(line.count(separator) != wanted for line in lines):
            seen.unfolded = True
            return
        if not seen.folded:
            seen.folded.append(seen.lines + block.count(b"\n", 0, int(starts[place])) + 1)


def _examine_loose(file: BinaryIO, separators: str) -> Form:
    """Return the form of a table with quotes that are letters. No record of it may have several lines: which quote
    would open one cannot be known."""
    separator, names = _read_header(file, separators)
    records, quoted, blank_lines = 0, False, False
    for number, line in _iter_lines(file):
        if not line:
            blank_lines = True
            continue
        _split_checked(line, separator, number, len(names))
        quoted |= line.startswith('"') or f'{separator}"' in line
        records += 1
    return Form(separator, names, records - 1, "mixed" if quoted else "none", blank_lines)


def _iter_lines(file: BinaryIO) -> Iterator[tuple[int, str]]:
    file.seek(0)
    for number, line in enumerate(file, 1):
        text = (line.removeprefix(BOM) if number == 1 else line).removesuffix(b"\n").removesuffix(b"\r")
        yield number, text.decode("utf-8")


def _split_checked(line: str, separator: str, number: int, wanted: int) -> list[str]:
    fields = split_line(line, separator, number)
    if len(fields) != wanted:
        raise BrokenTableError(number, f"it has {len(fields)} fields where the first line has {wanted}")
    return fields


def split_line(line: str, separator: str, number: int) -> list[str]:
    """Return the fields of a record of one line; a quote within a field that does not begin with one is a letter.

    Raises `BrokenTableError` for a field that begins with a quote and goes on behind the next one, and for a quote
    behind a backslash.
    """
    if '"' not in line:
        return line.split(separator)
    fields, place = [], 0
    pattern = _FIELD[separator]
    while True:
        found = pattern.match(line, place)
        if found is None:
            raise BrokenTableError(number, _stray_quote_error(line))
        quoted, bare = found.groups()
        if quoted is None and '"' in bare and ('\\"' in bare or bare.startswith('"')):
            raise BrokenTableError(number, _stray_quote_error(line))
        fields.append(bare if quoted is None else quoted.replace('""', '"'))
        if found.end() == len(line):
            return fields
        place = found.end() + 1


_FIELD = {
    mark: re.compile(rf'(?:"((?:[^"]|"")*)"|([^{re.escape(mark)}]*))(?={re.escape(mark)}|\Z)', re.DOTALL)
    for mark in SEPARATORS
}


def _stray_quote_error(line: str) -> str:
    if '\\"' in line:
        return f"a backslash stands before a quote; {TWICE}"
    return f"a quote opens a text that does not end where a field ends; {TWICE}"


def read_mixed(file: BinaryIO, form: Form) -> Iterator[list[str]]:
    """Yield the records below the first line of a table that `examine` found to be ``mixed``."""
    rows = (_split_checked(line, form.separator, number, len(form.names)) for number, line in _iter_lines(file) if line)
    next(rows, None)
    yield from rows


def find_repeated(names: list[str]) -> list[str]:
    """Return the names that stand more than once."""
    return [name for name, times in Counter(names).items() if times > 1]
