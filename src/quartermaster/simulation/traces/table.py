"""A CSV file, plain or gzipped, checked as a whole and read by column.

By column, because a format's rules are by column, and because a list comprehension over 10,000 cells of one type costs
a few milliseconds where a dictionary per row costs many. The place of a bad cell is looked for only once something is
wrong. Compression is recognised by content, not by name: files get renamed.

It refuses what other readers let pass: columns it does not know, cells beyond the header, a name given twice, an
unclosed quote. Blank lines are skipped.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, TypeVar

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.traces.column import BadCell, Column

T = TypeVar("T")

File = Path | Traversable
"""Where a table comes from: a user's path, or a file inside the installed package."""

_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of one file; `table[column]` gives them as values."""

    file: str
    lines: Sequence[int]
    cells: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, column: Column[Any]) -> bool:
        """Whether the file has the column; an absent one reads as its default."""
        return column.name in self.cells

    def __getitem__(self, column: Column[T]) -> list[T]:
        cells = self.cells.get(column.name)
        if cells is None:
            assert column.default is not None, f"{column.name} was not declared to read_table"
            return [column.default] * len(self)
        try:
            values = column.values(cells)
        except BadCell:
            raise self._first_bad(column, cells) from None
        if column.unique:
            self._refuse_repeats(column, cells)
        return values

    def take(self, rows: Sequence[int]) -> Table:
        """A table of these rows, which keep their line numbers."""
        cells = {name: tuple(column[row] for row in rows) for name, column in self.cells.items()}
        return Table(file=self.file, lines=[self.lines[row] for row in rows], cells=cells)

    def error(self, *, row: int, column: Column[Any], problem: str, fix: str) -> InvalidInput:
        """A complaint about one cell; rows count from 0, as in the lists."""
        return InvalidInput(f"{self.file}:{self.lines[row]}: column '{column.name}'", problem, fix)

    def _first_bad(self, column: Column[Any], cells: Sequence[str]) -> InvalidInput:
        for row, cell in enumerate(cells):
            try:
                column.value(cell)
            except BadCell as bad:
                return self.error(
                    row=row,
                    column=column,
                    problem=str(bad),
                    fix=f"expected {column.wanted}",
                )
        raise AssertionError("a column that failed has a bad cell")

    def _refuse_repeats(self, column: Column[Any], cells: Sequence[str]) -> None:
        if len(set(cells)) == len(cells):
            return
        first: dict[str, int] = {}
        for row, cell in enumerate(cells):
            if first.setdefault(cell, row) != row:
                problem = f"'{cell}' is already on line {self.lines[first[cell]]}"
                raise self.error(
                    row=row,
                    column=column,
                    problem=problem,
                    fix="give every row a name of its own",
                )


def read_table(*, file: File, columns: Sequence[Column[Any]]) -> Table:
    """Read `file`, whose header may have these columns in any order and no others."""
    name = str(file)
    content = _text(_bytes(file, name), name)
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    end = 0
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(end + 1)
            end = reader.line_num
    except csv.Error as error:
        raise InvalidInput(f"{name}:{end + 1}", f"is not CSV: {error}", "check the quotes on this line") from None
    known = ",".join(column.name for column in columns)
    if not rows:
        raise InvalidInput(
            name,
            "the file is empty",
            f"expected a header line with the columns {known}",
        )
    header = rows.pop(0)
    _check_header(header, f"{name}:{lines.pop(0)}", columns)
    if not rows:
        raise InvalidInput(name, "there is a header but no row", "give at least one row")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
            raise InvalidInput(
                f"{name}:{line}",
                f"{cells}, but the header has {len(header)}",
                "give one cell a column",
            )
    return Table(
        file=name,
        lines=lines,
        cells=dict(zip(header, zip(*rows, strict=True), strict=True)),
    )


def _bytes(file: File, name: str) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise InvalidInput(name, "no such file", "check the path") from None
    except OSError as error:
        raise InvalidInput(name, f"cannot be read: {error.strerror}", "name a .csv or .csv.gz file") from None
    if not data.startswith(_GZIP):
        if name.endswith(".gz"):
            raise InvalidInput(
                name,
                "is not gzip data",
                "compress it with gzip, or drop '.gz' from its name",
            )
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        problem = f"the gzip data is broken ({str(error).rstrip('.')})"
        raise InvalidInput(name, problem, "copy or compress the file again") from None


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise InvalidInput(
            f"{name}:{line}",
            f"byte 0x{byte:02x} is not UTF-8",
            "save the file as UTF-8",
        ) from None


def _check_header(header: Sequence[str], where: str, columns: Sequence[Column[Any]]) -> None:
    known = {column.name: column for column in columns}
    names = ", ".join(known)
    for name, count in Counter(header).items():
        field = f"{where}: column '{name}'"
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise InvalidInput(field, "is not known", f"{hint}the columns are {names}")
        if count > 1:
            raise InvalidInput(field, f"is there {count} times", "keep one of them")
    for column in columns:
        if column.required and column.name not in header:
            raise InvalidInput(
                f"{where}: column '{column.name}'",
                "is missing",
                f"expected {column.wanted}",
            )
