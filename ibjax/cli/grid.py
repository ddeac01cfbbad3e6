"""`ibjax run --grid`: a run for each combination of values, each of them a file, and a table of what they came to.

Every point of the grid is carried out as the one run is whose options name its values. All points are checked before
the first is trained; one that fails then leaves the others to be trained.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import dataclasses
import io
import itertools
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ibjax._checks import distinct, unknown
from ibjax._fields import kinds
from ibjax._files import atomic_write, check_space
from ibjax._workers import interruptible
from ibjax.cli import train
from ibjax.cli.log import STDOUT, open_log
from ibjax.cli.options import RunError, UsageError, parse, refuse
from ibjax.cli.output import check_output, complaint, escape, fail, final_numbers, print_wrapped
from ibjax.config import Config

_LAST_HIDDEN = ("i_xt", "i_ty")  # bits
_NUMBERS = ("networks", "diverged", "epoch", "train_loss", "test_loss", "train_accuracy", "test_accuracy")
_COLUMNS = ("file", *_NUMBERS, *_LAST_HIDDEN, "error")
"""Of the table, behind those of the fields."""

_SHOWN = (
    ("loss", "train_loss", "9.3g"),
    ("train", "train_accuracy", "7.3f"),
    ("test", "test_accuracy", "7.3f"),
    ("I(X;T)", "i_xt", "8.2f"),
    ("I(T;Y)", "i_ty", "8.3f"),
)
"""What of it is printed: what stands above, the column, and how many places of which kind it takes."""

Row = dict[str, Any]
"""Of the table: by column."""


class Point(NamedTuple):
    """A combination of values: by field as they were typed, and as they are; and the options of its run."""

    texts: Mapping[str, str]
    values: Mapping[str, Any]
    options: argparse.Namespace

    def __str__(self) -> str:
        return escape(_name(self.texts))


def run(arguments: argparse.Namespace) -> int:
    """Train an ensemble, or one for each point of a grid; 1 where one fails or its values break their bounds."""
    arguments.log = open_log(arguments.log_json)
    arguments.quiet = arguments.quiet or arguments.log_json == STDOUT
    if arguments.grid is None:
        return train.run(arguments)
    points = _points(arguments)
    table = Path(arguments.out, "table.csv")
    with interruptible(second_kills=True), _folder(table.parent):
        _check_table(table, force=arguments.force)
        rows = _check(points, table.parent)
    if rows:
        _write_table(table, points, rows)
        if not arguments.quiet:
            print(f"{len(rows)} of {len(points)} points were finished before; --force trains them again")
    for number, point in enumerate(points):
        if number not in rows:
            rows[number] = _carry_out(point, number, len(points))
            _write_table(table, points, rows)
    failed = sum(bool(row["error"]) for row in rows.values())
    arguments.log.file = str(table)
    arguments.log.write("table", points=len(points), failed=failed)
    if not arguments.quiet:
        _print_table(points, rows)
        print(f"\nwritten to {table}")
    return int(failed > 0)


def _points(arguments: argparse.Namespace) -> list[Point]:
    """All combinations, the last field's values changing fastest."""
    if not arguments.out:
        raise UsageError("--grid without --out; allowed: --out FOLDER")
    fields: dict[str, dict[str, Any]] = {}
    for text in arguments.grid:
        field, values = _axis(text)
        if field in fields:
            raise UsageError(f"--grid names {field} more than once; allowed: each field once")
        if field in arguments:
            raise UsageError(f"--grid {field} with --{field.replace('_', '-')}; allowed: one of them")
        fields[field] = values
    points = []
    for items in itertools.product(*(values.items() for values in fields.values())):
        texts = dict(zip(fields, (text for text, _ in items), strict=True))
        values = dict(zip(fields, (value for _, value in items), strict=True))
        name = _name(texts).replace("%", "%25").replace("/", "%2F")  # of a file, and of no other point's
        places = {"grid": None, "out": os.path.join(arguments.out, f"{name}.npz")}
        if arguments.checkpoint is not None:
            places["checkpoint"] = os.path.join(arguments.checkpoint, name)
        points.append(Point(texts, values, argparse.Namespace(**vars(arguments) | places | values)))
    return points


def _axis(text: str) -> tuple[str, dict[str, Any]]:
    """A field, and its values by how they were typed."""
    name, equals, values = text.partition("=")
    field = name.strip().replace("-", "_")
    if not equals:
        raise UsageError(f"--grid = {text!r}; allowed: FIELD=VALUE,VALUE")
    if field not in kinds(Config):
        raise UsageError(unknown("--grid: field", field, tuple(kinds(Config))))
    kind = kinds(Config)[field]
    about = next(known.metadata for known in dataclasses.fields(Config) if known.name == field)
    separator = ";" if ";" in values or not kind.single else ","
    texts = [part.strip() for part in values.removesuffix(";").split(separator)]
    with refuse():
        distinct(f"--grid {field}", tuple(texts))
    try:
        parsed = {part: parse(field, kind, about, part) for part in texts}
    except UsageError as error:
        raise UsageError(f"--grid {field}: {error}") from error
    with refuse():
        distinct(f"--grid {field}", tuple(parsed.values()))
    return field, parsed


def _name(texts: Mapping[str, str]) -> str:
    return ",".join(f"{field}={text}" for field, text in texts.items())


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """The folder is there; if it was not and the block refuses the grid, it is not afterwards."""
    made = not path.exists()
    try:
        path.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise UsageError(f"--out = {str(path)!r}: there is no folder {str(path.parent)!r}") from None
    except OSError as error:
        raise UsageError(f"--out = {str(path)!r} cannot be made a folder: {error.strerror or error}") from error
    try:
        yield
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _check_table(path: Path, *, force: bool) -> None:
    """Refuse to replace anything but the table of a grid."""
    if path.is_file():
        with open(path, encoding="utf-8", errors="replace") as file:
            force = force or file.readline(10_000).rstrip().endswith(",".join(_COLUMNS))
    check_output(path, force=force)


def _check(points: Sequence[Point], folder: Path) -> dict[int, Row]:
    """Refuse what cannot be carried out; of the points that are finished already, by number, their rows."""
    rows: dict[int, Row] = {}
    nbytes = 0
    for number, point in enumerate(points):
        began, options = time.perf_counter(), copy.copy(point.options)  # which become those of the run
        try:
            plan = train.prepare(options)
        except UsageError as error:
            raise UsageError(f"{point}: {error}") from error
        if plan.finished is not None:
            _log(point, number, len(points))
            rows[number] = _row(point, train.conclude(options, plan, plan.finished, began))
        nbytes += plan.needs.file_bytes if plan.needs else 0
    check_space(folder, nbytes)
    return rows


def _carry_out(point: Point, number: int, count: int) -> Row:
    """Train a point; its row, with the reason where it fails."""
    if not point.options.quiet:
        print()
        print_wrapped(f"point {number + 1} of {count}: {point}", 2)
    _log(point, number, count)
    try:
        done = train.carry_out(point.options)
    except BrokenPipeError:  # nobody reads on
        raise
    except (UsageError, RunError, OSError) as error:
        fail(point.options, f"{point}: {complaint(error)}")
        return {**dict.fromkeys(_COLUMNS, ""), **point.texts, "error": complaint(error)}
    if not point.options.quiet:
        print_wrapped(f"{done.seconds:.1f} s; written to {done.plan.path}", 2)
    return _row(point, done)


def _log(point: Point, number: int, count: int) -> None:
    point.options.log.file = point.options.out
    point.options.log.write("point", number=number + 1, points=count, values=point.values)


def _row(point: Point, done: train.Outcome) -> Row:
    numbers = final_numbers(done.trajectory)
    last_hidden = numbers["layers"][-2:][0]  # before the output, if there is one before it
    return {
        **point.texts,
        "file": done.plan.path.name,
        **{name: numbers[name] for name in _NUMBERS},
        **{name: last_hidden[name] for name in _LAST_HIDDEN},
        "error": "" if done.sound else "values break their bounds",
    }


def _write_table(path: Path, points: Sequence[Point], rows: Mapping[int, Row]) -> None:
    """All of it anew: whatever ends the grid, the table tells of the points that were carried out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = (*points[0].texts, *_COLUMNS)
    writer.writerow(columns)
    for number in sorted(rows):
        cells = [rows[number][name] for name in columns]
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells])
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")


def _print_table(points: Sequence[Point], rows: Mapping[int, Row]) -> None:
    """The rows in 80 columns; what is too long for them is cut, and stands in the file."""
    texts = [list(points[0].texts), *([escape(text) for text in point.texts.values()] for point in points)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    while sum(widths) + 2 * len(widths) > 42 and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    cells = [
        [f"{title:>{form.partition('.')[0]}}" for title, _, form in _SHOWN],
        *(_cells(rows[n]) for n in sorted(rows)),
    ]
    print("\nmeans over networks at the last epoch: loss in training, accuracies, and of")
    print("the last hidden layer I(X;T) and I(T;Y) in bits\n")
    for left, right in zip(texts, cells, strict=True):
        parts = (
            text if len(text) <= width else text[: width - 1] + "…" for text, width in zip(left, widths, strict=True)
        )
        print("  ".join(f"{part:{width}}" for part, width in zip(parts, widths, strict=True)) + "".join(right))
    for number, point in enumerate(points):
        row = rows[number]
        if row["diverged"]:
            print_wrapped(f"{point}: {row['diverged']} of {row['networks']} networks diverged, in no mean", 2)
        if row["error"]:
            print_wrapped(f"{point}: {escape(row['error'])}", 2)


def _cells(row: Row) -> list[str]:
    """What is printed of a row; dashes for what there is none of."""
    numbers = ((row[name], form) for _, name, form in _SHOWN)
    return [
        f"{'-':>{form[0]}}" if number == "" or math.isnan(number) else f"{number:{form}}" for number, form in numbers
    ]
