"""Whether the service lives and is ready, what it allows and counts, and events."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from trialigngr.serve.errors import ServiceError
from trialigngr.serve.info_models import EventReceipt, HealthState, ServiceInfo
from trialigngr.serve.request_models import EventBatch
from trialigngr.serve.service import Service


def build_operations_router(service: Service) -> APIRouter:
    """Return the paths of those who run the service."""
    router = APIRouter(tags=["operations"])

    @router.get("/health/live")
    async def check_life() -> HealthState:
        """Return that this process answers, however long its queue is."""
        return HealthState(status="ok")

    @router.get("/health/ready", responses={503: {"model": HealthState}})
    async def check_readiness() -> Response:
        """Return whether requests should come here; 503 with the reasons if not."""
        state = service.describe_readiness()
        return JSONResponse(state.model_dump(), 200 if state.status == "ok" else 503)

    @router.get("/v1/info")
    async def describe_service() -> ServiceInfo:
        """Return the version, the runs and every limit."""
        return service.describe_limits()

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def write_metrics() -> Response:
        """Return counters as Prometheus reads them."""
        return Response(service.metrics.write_text(), media_type=service.metrics.content_type)

    @router.post("/v1/events", status_code=202)
    def record_events(batch: EventBatch) -> EventReceipt:
        """Write events, each once by its id; they are on the disk when this answers."""
        if service.events is None:
            raise ServiceError("events_off", "This server keeps no events; start it with --events FILE.")
        written = service.events.append_events([event.model_dump(exclude_none=True) for event in batch.events])
        return EventReceipt(accepted=written, duplicates=len(batch.events) - written)

    return router
