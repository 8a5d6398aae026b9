"""`build_deployment`: the service as an application of Ray Serve, whose replicas answer alike and know nothing of each
other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trialigngr.foundation.errors import ArgumentError
from trialigngr.serve.api_keys import KeyRing, read_keys
from trialigngr.serve.gate import RequestGate
from trialigngr.serve.limits import QueueSettings
from trialigngr.serve.server import build_gated_api
from trialigngr.serve.service import open_service


def build_deployment(
    folders: Sequence[Path | str],
    *,
    api_key_file: Path | None = None,
    queue: QueueSettings | None = None,
    **options: Any,
) -> Any:
    """Return what ``ray.serve.run`` takes: runs that every node finds in the same folders. ``options`` are those of
    ``ray.serve.deployment``, such as ``num_replicas`` and ``ray_actor_options``.

    Each replica has its own models, queue and micro-batches. There are no events and no changes of the catalogue,
    which one replica alone would see: deploy anew, and replicas are replaced without a request being lost. Raises
    `ArgumentError` where Ray Serve is not installed, or for a key file that cannot be used.
    """
    try:
        from ray import serve
    except ImportError:
        raise ArgumentError("Ray Serve is not installed: pip install 'trialigngr[ray,serve]'.") from None
    keys, settings = KeyRing(read_keys(api_key_file)), queue or QueueSettings()
    paths = [Path(folder).absolute() for folder in folders]

    def build_app() -> RequestGate:
        return build_gated_api(open_service(paths, keys, queue=settings))

    # As many as the queue holds and two batches: what is more, the service itself refuses with 429.
    ongoing = {"max_ongoing_requests": settings.max_waiting + 2 * settings.max_batch}
    return serve.deployment(serve.ingress(build_app)(), **(ongoing | options)).bind()
