"""`--shard`, `--ray` and what goes with them: one analysis on several machines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from headscope.cli.options import HOW, option
from headscope.errors import UsageError

if TYPE_CHECKING:
    from headscope.pipeline import Executor

Shard = Annotated[
    str | None,
    option(
        "--shard",
        panel=HOW,
        metavar="I/K",
        help="Compute only share I of K, such as 1/8, for one process of eight; headscope merge unites the folders.",
    ),
]
Ray = Annotated[
    str | None,
    option(
        "--ray",
        panel=HOW,
        metavar="ADDRESS",
        help="Compute on Ray: local (workers on this machine), auto (the cluster it is in) or HOST:PORT. Every machine "
        "must find MODEL under the same name. Needs headscope\\[ray].",
    ),
]
Workers = Annotated[
    int | None,
    option(
        "--workers",
        panel=HOW,
        metavar="N",
        help="Ray workers, each with the model in memory. Default: one for each processor, or GPU.",
    ),
]
CellTimeout = Annotated[
    float | None,
    option(
        "--cell-timeout",
        panel=HOW,
        metavar="N",
        help="Seconds after which a Ray worker that is still at one cell is killed, and the cell tried once more. "
        "Default: never.",
    ),
]


def executor(
    model: str, *, shard: str | None, ray: str | None, workers: int | None, timeout: float | None, offline: bool
) -> Executor:
    """What computes the cells.

    Args:
        model: as typed.
        shard: of `--shard`.
        ray: of `--ray`.
        workers: of `--workers`.
        timeout: of `--cell-timeout`.
        offline: of `--offline`.

    Raises:
        UsageError: if they do not fit together.
    """
    from headscope.pipeline import local
    from headscope.pipeline.scaling.shards import Shard as Share
    from headscope.pipeline.scaling.shards import parse_shard
    from headscope.pipeline.scaling.spread import OnRay

    lonely = [name for name, value in (("--workers", workers), ("--cell-timeout", timeout)) if value is not None]
    if lonely and ray is None:
        raise UsageError(f"{' and '.join(lonely)} without --ray", "workers of Ray", "add --ray local, or leave it out")
    within: Executor = local
    if ray is not None:
        within = OnRay(name=model, address=ray, workers=workers, cell_timeout=timeout, offline=offline)
    if shard is None:
        return within
    index, count = parse_shard(shard)
    return Share(index=index, count=count, within=within)


def folder_of_shard(folder: Path, shard: str) -> Path:
    """Where a share goes unless it is said: always the same place, so that the same command goes on.

    Args:
        folder: where the whole would go.
        shard: as typed.

    Example:
        >>> folder_of_shard(Path("runs/gpt2"), "1/8").as_posix()
        'runs/gpt2-1-of-8'
    """
    from headscope.pipeline.scaling.shards import parse_shard

    index, count = parse_shard(shard)
    return folder.with_name(f"{folder.name}-{index}-of-{count}")


def tell(chosen: Executor, folder: Path, *, quiet: bool) -> None:
    """Say on standard error what Ray did, and how shares are united.

    Args:
        chosen: from `executor`.
        folder: of the run.
        quiet: nothing.
    """
    told: Any = getattr(getattr(chosen, "within", chosen), "told", None)
    if quiet:
        return
    if told and "workers" in told:
        lost = f", {told['lost']} lost" if told["lost"] else ""
        late = f", {told['timed_out']} too late" if told["timed_out"] else ""
        where = ", ".join(told["hosts"])
        sys.stderr.write(f"headscope: Ray: {told['cells']} cells by {told['workers']} workers on {where}{lost}{late}\n")
    if hasattr(chosen, "count"):
        share: Any = chosen
        sys.stderr.write(
            f"headscope: {folder} holds share {share.index} of {share.count}; unite all: headscope merge OUT RUN...\n"
        )
