"""Reading files: an ``.npz`` of what was learned, with class and settings in a header."""

from __future__ import annotations

import os

import numpy as np

from fastnn.preprocessing._base import Preprocessor


def load(path: str | os.PathLike[str]) -> Preprocessor:
    """Return what ``save`` wrote to `path`, as an object of the class that was saved.

    Parameters
    ----------
    path : path

    Returns
    -------
    Preprocessor

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or was not written by ``save``.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastnn import preprocessing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "center.npz")
    ...     preprocessing.ZeroCenter().fit([[1.0], [3.0]]).save(path)
    ...     preprocessing.load(path).mean_
    array([2.])
    """
    import json  # here, for it would be a twentieth of `import fastnn`

    with open(path, "rb") as file:
        # A damaged archive makes zipfile and NumPy raise a dozen unrelated kinds of exception.
        try:
            with np.load(file, allow_pickle=False) as archive:
                content = dict(archive)
            header = json.loads(str(content.pop("header")))
            known = Preprocessor._known()
            return known[header["class"]](**header["settings"]).load_state_dict(content)
        except Exception as error:
            raise ValueError(
                f"{path}: expected a file written by save of a preprocessing class, got one that "
                f"is damaged or of another kind ({type(error).__name__}: {error})"
            ) from error
