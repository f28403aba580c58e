"""How the site is built: `python -m sphinx -W --keep-going -b html docs docs/_build/html`.

    docs/*.md, reference/*.rst ──────────────────────────┐
    start/*.py, course/*.py ──run──▶ getting-started/,   ├──▶ _build/html
                                     chapters/           │
    docstrings ──autosummary──▶ reference/generated/ ────┘

Nothing here needs a network, neither to build the site nor to read it: formulas become MathML, and
what PyTorch or NumPy mean is told in words, without their inventories.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent

# `python -m sphinx` puts the project's folder on the path. Unless fastnn was built in place there,
# that is source without kernels, and the package to describe is the one that pip installed.
if not any((ROOT / "fastnn" / "_core").glob("program.*.so")):
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
sys.path.append(str(DOCS / "_extensions"))

import numpydoc.xref

import fastnn

project = "fastnn"
author = "The fastnn developers"
copyright = "The fastnn developers"
release = version = fastnn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "mathml",
]
exclude_patterns = [
    "_build",
    # Scripts and headers of the galleries; what they become is in the folders beside.
    "course",
    "start",
    "getting-started/index.rst",
]
templates_path = ["_templates"]

# References. Every one has to lead somewhere; but a `name` of small letters (or X) in a docstring
# is that of a parameter where it is not that of something in the reference.
nitpicky = True
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", "[a-z0-9_]+|X")]

# The gallery: each script is run, and its pictures and what it prints are put where it made them.
sphinx_gallery_conf = {
    "examples_dirs": ["start", "course"],
    "gallery_dirs": ["getting-started", "chapters"],
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("fastnn",),
    "backreferences_dir": "reference/generated/used_in",
    "capture_repr": ("_repr_html_",),  # no "Text(0.5, 1.0, ...)" of a last line that draws
    "image_srcset": ["2x"],
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "download_all_examples": False,
}

# The reference.
autosummary_generate = [f"reference/{page.name}" for page in DOCS.glob("reference/*.rst")]
autodoc_typehints = "none"  # types stand in the docstrings, in words
# On file systems that take `VGG` and `vgg` for one name, two pages need two.
autosummary_filename_map = {
    f"fastnn.models.{name}": f"fastnn.models.{name}-class" for name in ("AlexNet", "ResNet", "VGG")
}
# Methods that are no news in the reference: what fastnn's own floors call each other by, and what a
# subclass overrides without changing what it means.
autosummary_context = {
    "inner": [
        *("bind", "carry_state", "check_options", "members", "record", "record_run", "state_names"),
        *("feed", "compile", "compiled", "move", "own_views", "parts", "run", "seen"),
    ],
    "overridden": {
        "Module": ["forward", "extra_repr"],
        "Callback": [
            *("next_step", "on_fit_start", "on_step_end", "on_epoch_end", "on_fit_end"),
        ],
    },
}
numpydoc_show_class_members = False  # the template of a class has them, each with its docstring
# Types are words; those that are classes of ours become links, by their bare names.
numpydoc_xref_param_type = True
numpydoc.xref.DEFAULT_LINKS.clear()  # to Python's and NumPy's sites
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    name: f"{module.__name__}.{name}"
    for module in (fastnn, fastnn.nn, fastnn.optim, fastnn.diagnostics, fastnn.search)
    for name in module.__all__
    if isinstance(getattr(module, name), type)
}
numpydoc_validation_checks = {
    "GL06",  # unknown sections
    "GL07",  # sections in the wrong order
    "GL08",  # no docstring
    "SS01",  # no summary
    "PR01",  # parameters that are not documented,
    "PR02",  # that don't exist,
    "PR03",  # that are in another order
    "PR10",  # a colon without a space before it
    "RT01",  # no Returns
    "YD01",  # no Yields
}
# What fastnn makes and a user only reads is described by its attributes.
numpydoc_validation_overrides = {
    "PR01": [r"\A(?![\s\S]*\bParameters\n\s*-)[\s\S]*\bAttributes\n\s*-"],
}

# Markdown.
myst_heading_anchors = 3

# What it looks like.
html_theme = "furo"
html_title = f"fastnn {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
