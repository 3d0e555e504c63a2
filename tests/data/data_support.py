"""What tests of data share: where published files may lie, a data directory of the test's own, JSON-lines files."""

import json
import pathlib

PUBLISHED = pathlib.Path(__file__).parents[3] / "shared" / "data"


def write_rows(path, *rows):
    """A JSON-lines file of `rows`; texts are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path
