"""`push_run`: a finished run goes to a hub of models, where `trialigngr.load("hf://OWNER/NAME")` finds it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArgumentError
from trialigngr.pipeline.public_run import write_public_run
from trialigngr.runs.hub_runs import check_total_size, explain_hub_errors, open_hub
from trialigngr.runs.run import Run


def push_run(
    run: Run,
    name: str,
    *,
    replace: bool = False,
    private: bool = False,
    license_name: str = "",
    with_users: bool = False,
) -> str:
    """Push what others need of a run to ``name`` (OWNER/NAME) and return its address for `load`.

    Raises `ArgumentError` where the hub has that name, unless told to ``replace`` what is there, and `ArtifactError`
    for a run that is not whole, one that is too large, and where the hub refuses.
    """
    hub = open_hub()
    with explain_hub_errors(f"{name} cannot be pushed"):
        exists = hub.repo_exists(name)
    if exists and not replace:
        raise ArgumentError(f"{hub.endpoint} has {name} already; take another name, or say --replace.")
    with TemporaryDirectory() as there:
        folder = Path(there)
        write_public_run(run, folder, name=name, license_name=license_name, with_users=with_users)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        check_total_size(str(run.folder), size)
        with explain_hub_errors(f"{name} cannot be pushed"):
            hub.create_repo(name, private=private, exist_ok=replace)
            hub.upload_folder(
                repo_id=name,
                folder_path=folder,
                commit_message="Push a run of trialigngr",
                delete_patterns="*" if exists else None,
            )
    log(f"{name}: {size / 1e6:,.1f} MB at {hub.endpoint}, {'with' if with_users else 'without'} users and histories")
    return f"hf://{name}"
