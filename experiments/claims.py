"""Every claim of the paper with its verdict: runs or reads all experiments and writes one table.

    python experiments/claims.py [--quick] [--out DIR] [--seeds N] [--redo NAME ...] [--page DIR]

An experiment whose findings are in DIR/NAME.json already, made with the same `--quick`, is read and not run, so the
command can be interrupted and goes on where it stopped; within an experiment the networks already trained are read from
their files. `--redo NAME` measures that one anew, `--redo all` every one (training is not redone: delete the npz files
for that). An experiment that fails is named in the table and the others go on; the exit status is then 1. Writes
DIR/claims.md and DIR/claims.json after each experiment, so that both are there when the rest is interrupted.

`--page` copies the tables there and every figure, small enough to be stored with the code.

No verdict is assumed: each follows from a 95% interval over networks by a rule that stands at the top of its script.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import parser
from PIL import Image

from ibjax._files import atomic_write

EXPERIMENTS = (
    "snapshots",
    "trajectories",
    "gradients",
    "depth",
    "width",
    "samples",
    "weights",
    "bound",
    "compression_time",
    "bins",
    "estimators",
    "noise",
    "movie",
)
"""In this order, since `compression_time` trains nothing and reads the runs of those before it."""

HEADER = ("", "claim", "source", "number, 95% interval", "networks", "verdict")

Record = Mapping[str, Any]


def read_record(name: str, out: Path, quick: bool) -> Record | None:
    """The record of an experiment that is done at this size, or None."""
    try:
        record = json.loads((out / f"{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    same = isinstance(record, dict) and record.get("name") == name and record.get("quick") is quick
    return record if same and isinstance(record.get("findings"), list) else None


def perform(name: str, arguments: Sequence[str], out: Path, quick: bool) -> Record:
    """Run one experiment; its record, which holds "error" where it failed."""
    try:
        status = importlib.import_module(name).main(list(arguments))
        record = read_record(name, out, quick)
        if status == 0 and record is not None:
            return record
        error = f"exit status {status}" if status else "left no findings of this size"
    except (Exception, SystemExit) as failure:
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    return {"name": name, "quick": quick, "findings": [], "error": error}


def table(records: Sequence[Record], quick: bool) -> str:
    """The findings of all experiments as Markdown: a table, and below it what each number is."""
    lines = ["# Claims and verdicts", ""]
    if quick:
        lines += ["**Toy size (`--quick`): this proves that the scripts run, and nothing else.**", ""]
    lines += [_row(HEADER), _row(["---"] * len(HEADER))]
    details = []
    findings = [(record["name"], finding) for record in records for finding in record["findings"]]
    for number, (name, finding) in enumerate(findings, 1):
        columns = (finding["claim"], finding["source"], _interval(finding), finding["n_seeds"], finding["verdict"])
        lines.append(_row([number, *columns]))
        note = f" *{finding['note']}*" if finding.get("note") else ""
        details.append(f"{number}. `{name}`: {finding['measured']}.{note}")
    if details:
        lines += ["", "What the numbers are:", "", *details]
    if failures := [f"- `{record['name']}`: {record['error']}" for record in records if "error" in record]:
        lines += ["", "Not measured:", "", *failures]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[object]) -> str:
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


def _interval(finding: Mapping[str, Any]) -> str:
    """Estimate and interval; JSON's null is NaN."""
    values = [math.nan if finding[key] is None else float(finding[key]) for key in ("estimate", "low", "high")]
    if math.isnan(values[0]):
        return "none"
    if math.isnan(values[1]) or math.isnan(values[2]):
        return f"{values[0]:.3g} (no interval)"
    return f"{values[0]:.3g} [{values[1]:.3g}, {values[2]:.3g}]"


def write_table(records: Sequence[Record], out: Path, quick: bool) -> None:
    """`claims.md` and `claims.json`, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    findings = [{"experiment": record["name"], **finding} for record in records for finding in record["findings"]]
    errors = {record["name"]: record["error"] for record in records if "error" in record}
    content = {"quick": quick, "findings": findings, "errors": errors}
    texts = {"claims.md": table(records, quick), "claims.json": json.dumps(content, indent=1, allow_nan=False) + "\n"}
    for name, text in texts.items():
        with atomic_write(out / name) as temporary:
            temporary.write_text(text)


def write_page(records: Sequence[Record], out: Path, folder: Path, quick: bool) -> None:
    """The tables, and the figures with fewer pixels and 256 colours (rare ones too), in another folder."""
    write_table(records, folder, quick)
    for record in records:
        if (path := out / f"{record['name']}.png").exists():
            with Image.open(path) as whole:
                picture = whole.convert("RGB")
            picture.thumbnail((1300, 1300))
            picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(folder / path.name, optimize=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run or read every experiment and write the table."""
    options = parser(__doc__)
    options.add_argument("--redo", nargs="+", metavar="NAME", default=[], choices=("all", *EXPERIMENTS))
    options.add_argument("--page", metavar="DIR", type=Path, help="copy the tables and small figures there")
    chosen = options.parse_args(argv)
    arguments = ["--out", str(chosen.out), *(["--quick"] if chosen.quick else [])]
    arguments += [] if chosen.seeds is None else ["--seeds", str(chosen.seeds)]
    records: list[Record] = []
    for number, name in enumerate(EXPERIMENTS, 1):
        again = "all" in chosen.redo or name in chosen.redo
        record = None if again else read_record(name, chosen.out, chosen.quick)
        print(f"[{number}/{len(EXPERIMENTS)}] {name}{': read' if record else ''}", flush=True)
        records.append(record or perform(name, arguments, chosen.out, chosen.quick))
        write_table(records, chosen.out, chosen.quick)
    if chosen.page is not None:
        write_page(records, chosen.out, chosen.page, chosen.quick)
    failed = [record["name"] for record in records if "error" in record]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
