"""Sphinx's configuration. Build the site, from the root of the repository, with warnings as errors:

sphinx-build -W --keep-going -b html docs docs/_build/html

The build needs no network: formulas become MathML, which browsers draw themselves, and no page loads anything from
elsewhere.
"""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole

import ibjax

project = "ibjax"
author = copyright = "The ibjax developers"
version = release = ibjax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"ibjax {version}"
html_static_path = ["_static"]
html_css_files = ["ibjax.css"]
html_math_renderer = "mathml"

# Pages of MyST; code cells are run anew at every build, and one that fails ends it.
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_execution_in_temp = True  # what a cell saves goes away
absent = [name for name in ("torch", "keras") if importlib.util.find_spec(name) is None]
nb_execution_excludepatterns = ["howto/pytorch.md"] if "torch" in absent else []  # it says so where that is so
os.environ["COLUMNS"] = "86"  # of the help texts on the command line's page
os.environ["PYTHON_COLORS"] = "0"

# Docstrings.
default_role = "name_or_code"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autosummary_generate = False
os.environ.setdefault("KERAS_BACKEND", "jax")  # its own default is TensorFlow
autodoc_mock_imports = absent


class NameOrCode(PyXRefRole):
    """Single backticks: a link where they hold the name of something documented, else code as it stands."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if re.fullmatch(r"[A-Za-z_][\w.]*", self.text):
            self.name = "py:obj"
            self.reftype, self.refdomain = "obj", "py"
            return super().run()
        return [nodes.literal(self.rawtext, self.text)], []


def _mathml(translator: Any, node: nodes.Element, block: bool) -> None:
    translator.body.append(latex2mathml.tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def _shorten_annotations(app: Sphinx, function: Any, bound: bool) -> None:
    """`ArrayLike` by its name, not spelled out: the alias above serves it alone, and the default says None."""
    annotations = getattr(function, "__annotations__", {})
    annotations |= {name: "ArrayLike" for name, kind in annotations.items() if kind == "ArrayLike | None"}


def setup(app: Sphinx) -> None:
    if "torch" not in absent:
        app.tags.add("torch")
    app.connect("autodoc-before-process-signature", _shorten_annotations)
    app.add_role("name_or_code", NameOrCode())
    app.add_html_math_renderer(
        "mathml",
        (lambda translator, node: _mathml(translator, node, False), None),
        (lambda translator, node: _mathml(translator, node, True), None),
    )
