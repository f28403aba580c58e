"""The package itself."""


def timeraw_import() -> str:
    """A new interpreter for each import."""
    return "import fastnn"


def peakmem_import() -> None:
    """Memory of the process with nothing but the package."""
    import fastnn  # noqa: F401
