"""Every claim with its verdict: runs or reads all experiments and writes one table.

    python experiments/claims.py [--quick] [--out DIR] [--seeds N] [--first-seed N] [--redo NAME ...] [--page DIR]

The protocol, `protocol.toml`, says what is measured and by which criterion it is judged; it was written after a look at
networks of seeds below 1000, and the default here, seeds 1000 and on, confirms it.

An experiment whose evidence is in DIR/NAME.json already, made with the same `--quick` and `--first-seed`, is read and
not run, so the command can be interrupted and goes on where it stopped; within an experiment the networks already
trained are read from their files. `--redo NAME` measures that one anew, `--redo all` every one (training is not redone:
delete the npz files for that). An experiment that fails is named in the table and the others go on; the exit status is
then 1. Writes DIR/claims.md and DIR/claims.json after each experiment, so that both are there when the rest is
interrupted.
`--page` copies the tables there and every figure, small enough to be stored with the code.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import Evidence, Plan, parser, plan_of
from common.evidence import corrected, p_value, shown, verdict
from common.protocol import GROUPS, Claim, claims
from PIL import Image

from ibjax._files import atomic_write

EXPERIMENTS = (
    "snapshots",
    "samples",
    "gradients",
    "noise",
    "depth",
    "width",
    "weights",
    "compression_time",
    "bound",
    "estimators",
    "saturation",
    "noisy_training",
    "generalization",
    "settings",
    "images",
    "relaxation",
    "movie",
)
"""In the order of the table; those that train the runs of others first."""

HEADER = ("", "claim", "quantity", "estimate [95%]", "criterion", "n", "verdict", "over settings")

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim with what was found about it.

    Attributes:
      claim: of the protocol.
      evidence: what was found.
      p: corrected for the other tests of its family.
      verdict: by the criterion of the protocol.
      settings: in how many settings it holds, and where it turns, in words; "" where that was not asked.
    """

    claim: Claim
    evidence: Evidence
    p: float
    verdict: str
    settings: str


def read_record(name: str, out: Path, plan: Plan) -> Record | None:
    """The record of an experiment that is done at this size with these seeds, or None."""
    try:
        record = json.loads((out / f"{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    asked = {"name": name, "quick": plan.quick, "first_seed": plan.first_seed}
    same = isinstance(record, dict) and all(record.get(key) == value for key, value in asked.items())
    return record if same and isinstance(record.get("evidence"), list) else None


def perform(name: str, arguments: Sequence[str], out: Path, plan: Plan) -> Record:
    """Run one experiment; its record, which holds "error" where it failed."""
    try:
        status = importlib.import_module(name).main(list(arguments))
        record = read_record(name, out, plan)
        if status == 0 and record is not None:
            return record
        error = f"exit status {status}" if status else "left no evidence of this size"
    except (Exception, SystemExit) as failure:
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    return {"name": name, "evidence": [], "over_settings": [], "figures": [], "error": error}


def judge(records: Sequence[Record]) -> list[Judged]:
    """Every claim of which the records hold evidence, in the order of the protocol."""
    found = [Evidence.from_json(each) for record in records for each in record["evidence"]]
    over = {each["claim"]: each for record in records for each in record["over_settings"]}
    p_values, by_claim = corrected(found), {evidence.claim: evidence for evidence in found}
    rows = []
    for name, claim in claims().items():
        if (evidence := by_claim.get(name)) is None:
            continue
        raw = p_value(evidence)
        settings = ""
        if each := over.get(name):
            settings = f"{each['holds']} of {each['of']}{'; ' * bool(each['turns'])}{each['turns']}"
        decision = verdict(evidence, p_values[name] / raw if raw > 0 else 1.0)
        rows.append(Judged(claim, evidence, p_values[name], decision, settings))
    return rows


def table(records: Sequence[Record], plan: Plan) -> str:
    """The judged claims as Markdown: a table for each group, and below it what the numbers are."""
    lines = ["# Claims and verdicts", ""]
    if plan.quick:
        lines += ["**Toy size (`--quick`): this proves that the scripts run, and nothing else.**", ""]
    rows = judge(records)
    for group, title in GROUPS.items():
        if numbered := [(n, row) for n, row in enumerate(rows, 1) if row.claim.group == group]:
            lines += [f"## {title}", "", _line(HEADER), _line(["---"] * len(HEADER))]
            lines += [_line(_cells(number, row)) for number, row in numbered]
            lines += ["", *(text for number, row in numbered for text in _details(number, row)), ""]
    if failures := [f"- `{record['name']}`: {record['error']}" for record in records if "error" in record]:
        lines += ["## Not measured", "", *failures, ""]
    return "\n".join(lines).rstrip() + "\n"


def _cells(number: int, row: Judged) -> tuple[object, ...]:
    claim = row.claim
    estimate, n = shown(row.evidence, claim)
    tag = "" if claim.tag == "test" else f" ({claim.tag})"
    quantity = f"{claim.quantity} [{claim.unit}]"
    return number, claim.says, quantity, estimate, claim.criterion.text, n or "", row.verdict + tag, row.settings


def _details(number: int, row: Judged) -> Iterator[str]:
    """What the cells leave out, as an item of a list."""
    claim = row.claim
    words = [f"Source: {claim.source}"]
    words += [f"contested: {claim.contested}"] if claim.contested else []
    words += [f"against: {claim.against}"]
    p = "" if not row.evidence.entries else f" p = {row.p:.2g}."
    yield f"{number}. `{claim.id}` ({claim.experiment}). {'; '.join(words)}.{p} {row.evidence.detail}".rstrip()


def _line(cells: Sequence[object]) -> str:
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


def write_table(records: Sequence[Record], out: Path, plan: Plan) -> None:
    """`claims.md` and `claims.json`, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            **{key: value for key, value in dataclasses.asdict(row.claim).items() if key != "criterion"},
            "criterion": row.claim.criterion.text,
            **row.evidence.as_json(),
            "p": row.p,
            "verdict": row.verdict,
            "over_settings": row.settings,
        }
        for row in judge(records)
    ]
    errors = {record["name"]: record["error"] for record in records if "error" in record}
    content = {"quick": plan.quick, "first_seed": plan.first_seed, "claims": rows, "errors": errors}
    texts = {"claims.md": table(records, plan), "claims.json": json.dumps(content, indent=1, allow_nan=False) + "\n"}
    for name, text in texts.items():
        with atomic_write(out / name) as temporary:
            temporary.write_text(text)


def write_page(records: Sequence[Record], out: Path, folder: Path, plan: Plan) -> None:
    """The tables, and the figures with fewer pixels and 256 colours (rare ones too), in another folder."""
    write_table(records, folder, plan)
    for name in (figure for record in records for figure in record["figures"]):
        if (path := out / f"{name}.png").exists():
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
    plan = plan_of(chosen)
    arguments = ["--out", str(chosen.out), "--first-seed", str(plan.first_seed), *(["--quick"] if plan.quick else [])]
    arguments += [] if chosen.seeds is None else ["--seeds", str(chosen.seeds)]
    records: list[Record] = []
    for number, name in enumerate(EXPERIMENTS, 1):
        again = "all" in chosen.redo or name in chosen.redo
        record = None if again else read_record(name, chosen.out, plan)
        print(f"[{number}/{len(EXPERIMENTS)}] {name}{': read' if record else ''}", flush=True)
        records.append(record or perform(name, arguments, chosen.out, plan))
        write_table(records, chosen.out, plan)
    if chosen.page is not None:
        write_page(records, chosen.out, chosen.page, plan)
    failed = [record["name"] for record in records if "error" in record]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
