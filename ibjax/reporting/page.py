"""The page of a report: one HTML text with everything in it, which asks the net for nothing.

A file is not trusted: its words go through the template's escaping or, in the script's data, through `as_json`.
Besides, the page's policy lets only those two scripts run whose hashes it names, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from bokeh.embed import json_item
from bokeh.resources import Resources
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ibjax.reporting.colours import DARK
from ibjax.reporting.plots import plots

_FOLDER = Path(__file__).parent


def page_text(title: str, contents: list[dict[str, Any]], version: str) -> str:
    """The page.

    Args:
      title: of the page.
      contents: `ibjax.reporting.contents.contents` of each run.
      version: of ibjax.
    """
    figures = [
        {panel: json_item(plot, f"plot-{place}-{panel}") for panel, plot in plots(content).items()}
        for place, content in enumerate(contents)
    ]
    library = "\n".join(Resources(mode="inline", components=["bokeh"], log_level="error").js_raw)
    scripts = {"library": _script(library), "program": _script((_FOLDER / "page.js").read_text(encoding="utf-8"))}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((_FOLDER / "page.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        version=version,
        contents=contents,
        figures=figures,
        estimators=list(dict.fromkeys(e["name"] for content in contents for e in content["estimators"])),
        data=as_json({"contents": contents, "figures": figures}),
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8").replace("DARK", DARK)),
        policy=" ".join(f"'sha256-{_hash(script)}'" for script in scripts.values()),
        **scripts,
    )


def as_json(value: Any) -> Markup:
    """JSON that stands within a <script>: nothing in it ends the element or begins another. NaN becomes null."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _finite(value: Any) -> Any:
    """JSON values without NaN and infinity, which browsers do not read."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _script(text: str) -> Markup:
    """Our own code within a <script>, whose end it must not hold."""
    return Markup(text.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
