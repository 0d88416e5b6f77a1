"""The notebooks: run top to bottom, kept with their outputs, read and written as plain text.

    python -m tests.notebooks                      run all and keep what they show
    python -m tests.notebooks 02 05                run these
    python -m tests.notebooks --read 02            one as text, to review it
    python -m tests.notebooks --write 02 FILE      make one from such a text (then run it)

In the text every cell begins with a line `# %%` (code) or `# %% [markdown]`; Markdown stands as it is. A notebook
begins with its title, a badge, a cell that installs headscope where it is not, and the line `MODEL = "mini"`; badge and
installation are put there by this file. Figures are kept as SVG: a page that runs no scripts shows them, and no plotly
is stored with each.
"""

import argparse
import base64
import os
import re
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
SECONDS = 300
"""The longest that one cell may take on a busy machine."""

PLOTLY = "application/vnd.plotly.v1+json"
MODEL_LINE = 'MODEL = "mini"'
SWITCH = re.compile(rf"^{re.escape(MODEL_LINE)}", re.MULTILINE)
INSTALL = """# Where headscope is not installed yet, as on Colab, this installs it.
import importlib.util

if importlib.util.find_spec("headscope") is None:
    %pip install -q headscope"""
CELL = re.compile(r"^# %%(?P<markdown> \[markdown\])?[ \t]*\n", re.MULTILINE)


def books() -> list[Path]:
    """All notebooks, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> Any:
    """A notebook as nbformat has it."""
    return nbformat.read(path, as_version=4)


def sources(book: Any, kind: str = "code") -> list[str]:
    """What the cells of one kind hold."""
    return [cell.source for cell in book.cells if cell.cell_type == kind]


def badge(name: str) -> str:
    """The Colab badge of a notebook: to the file itself once pyproject.toml names a repository on GitHub."""
    picture = "![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)"
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {})
    places = (re.match(r"https://github\.com/([\w.-]+/[\w.-]+?)/?$", url) for url in urls.values())
    owner = next((place[1] for place in places if place), "")
    if not owner:
        return f"[{picture}](https://colab.research.google.com/) (File > Upload notebook)"
    return f"[{picture}](https://colab.research.google.com/github/{owner}/blob/main/notebooks/{name})"


def run(path: Path, *, model: str = "") -> Any:
    """The notebook with its outputs, run from top to bottom in an empty folder.

    Args:
        path: the notebook; it is not changed.
        model: what to put in the place of "mini".

    Raises:
        nbclient.exceptions.CellExecutionError: with the cell and what went wrong in it.
    """
    from nbclient import NotebookClient
    from traitlets.config import Config

    book = read(path)
    if model:
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.source = SWITCH.sub(lambda _: f"MODEL = {model!r}", cell.source)
    settings = {"PLOTLY_RENDERER": "plotly_mimetype", "HF_HUB_OFFLINE": "1", "HEADSCOPE_CACHE": ""}
    settings["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm misses ipywidgets, for bars that no cell draws
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as beside:
        # Sockets in a folder of their own: no port is opened, and their paths stay short enough.
        local = {"transport": "ipc", "connection_file": str(Path(beside, "k.json"))} if os.name == "posix" else {}
        options = {"cwd": folder, "env": {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(paths)}}
        NotebookClient(book, timeout=SECONDS, config=Config(KernelManager=local)).execute(**options)
    return book


def tidy(book: Any, name: str) -> Any:
    """The same notebook without what differs from one machine or run to the next; figures become pictures."""
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.metadata = nbformat.from_dict({"kernelspec": python, "language_info": {"name": "python"}})
    book.nbformat, book.nbformat_minor = 4, 5
    title, _, rest = book.cells[0].source.partition("\n")
    rest = "\n".join(line for line in rest.split("\n") if "colab-badge" not in line).strip("\n")
    book.cells[0].source = f"{title}\n\n{badge(name)}\n\n{rest}"
    number = 0
    for place, cell in enumerate(book.cells):
        cell.id, cell.metadata = f"cell-{place:02}", nbformat.from_dict({})
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number if cell.get("outputs") else None
            cell.outputs = _joined([_output(each, number) for each in cell.get("outputs", [])])
    return book


def _joined(outputs: list[Any]) -> list[Any]:
    """What is printed comes in portions whose size is chance."""
    joined: list[Any] = []
    for each in outputs:
        last = joined[-1] if joined else None
        if last is not None and "name" in each and last.get("name") == each.name:
            last.text += each.text
        else:
            joined.append(each)
    return joined


def _output(output: Any, number: int) -> Any:
    if "execution_count" in output:
        output.execution_count = number
    if output.output_type in {"display_data", "execute_result"}:
        output.metadata = nbformat.from_dict({})
        if PLOTLY in output.data:
            output.data = nbformat.from_dict(_picture(output.data[PLOTLY]))
    return output


def _picture(figure: Any) -> dict[str, str]:
    from plotly import graph_objects as go

    from headscope.plots import svg

    drawn = go.Figure(_arrays({"data": figure["data"], "layout": figure["layout"]}))
    title = re.sub("<[^>]*>", " ", str((figure["layout"].get("title") or {}).get("text", "")))
    return {"image/svg+xml": svg(drawn), "text/plain": " ".join(title.split()) or "a figure"}


def _arrays(value: Any) -> Any:
    """Plotly writes arrays as base64; here they are numbers again."""
    if isinstance(value, list):
        return [_arrays(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "bdata" not in value:
        return {name: _arrays(each) for name, each in value.items()}
    flat = np.frombuffer(base64.b64decode(value["bdata"]), dtype=value["dtype"])
    return flat.reshape([int(size) for size in str(value.get("shape", flat.size)).split(",")])


def as_text(book: Any) -> str:
    """The sources of a notebook as text."""
    marks = {"code": "# %%", "markdown": "# %% [markdown]"}
    return "\n\n".join(f"{marks[cell.cell_type]}\n{cell.source}" for cell in book.cells) + "\n"


def from_text(text: str) -> Any:
    """A notebook without outputs from text; the installing cell comes second, if it is not there."""
    book = nbformat.v4.new_notebook()
    starts = list(CELL.finditer(text))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    for start, end in zip(starts, ends, strict=True):
        make = nbformat.v4.new_markdown_cell if start["markdown"] else nbformat.v4.new_code_cell
        book.cells.append(make(text[start.end() : end].strip("\n")))
    if INSTALL not in sources(book):
        book.cells.insert(1, nbformat.v4.new_code_cell(INSTALL))
    return book


def keep(book: Any, path: Path) -> None:
    """Write a notebook, tidy."""
    made = tidy(book, path.name)
    nbformat.validate(made)
    path.write_text(nbformat.writes(made), "utf-8")


def main() -> None:
    """The command."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("names", nargs="*", help="beginnings of file names, such as 02; none: all")
    words.add_argument("--read", action="store_true", help="print as text")
    words.add_argument("--write", metavar="NAME", help="make NAME.ipynb from the one text file that is named")
    asked = words.parse_args()
    if asked.write:
        there = [path for path in books() if path.name.startswith(asked.write)]
        new = FOLDER / f"{asked.write.removesuffix('.ipynb')}.ipynb"
        keep(from_text(Path(asked.names[0]).read_text("utf-8")), there[0] if len(there) == 1 else new)
        return
    for path in books():
        if asked.names and not path.name.startswith(tuple(asked.names)):
            continue
        if asked.read:
            sys.stdout.write(as_text(read(path)))
            continue
        sys.stderr.write(f"{path.name}\n")
        keep(run(path), path)


if __name__ == "__main__":
    main()
