"""componentstatuses: what `kubectl get cs` shows is asked for anew each time."""

import pytest

from sampan.apiserver.handlers import componentstatuses
from sampan.http.health import Health
from support.api import API, served

LIST = "/api/v1/componentstatuses"


@served
async def test_scheduler_controllers_and_store_are_listed_with_a_warning(api: API) -> None:
    answer = await api.get(LIST)
    assert answer.headers["warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    found = {one["metadata"]["name"]: one["conditions"][0] for one in answer.json["items"]}
    assert list(found) == ["scheduler", "controller-manager", "etcd-0"]
    assert found["etcd-0"] == {"type": "Healthy", "status": "True", "message": "ok"}


@served
async def test_a_component_is_asked_at_its_port(api: API, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await Health().serve("127.0.0.1", 0)
    port = server.port
    monkeypatch.setattr(componentstatuses, "_PORTS", {"scheduler": port})
    up = (await api.get(f"{LIST}/scheduler")).json["conditions"][0]
    assert up == {"type": "Healthy", "status": "True", "message": "ok"}
    await server.close()
    down = (await api.get(f"{LIST}/scheduler")).json["conditions"][0]
    assert down["status"] == "False"
    assert down["message"].endswith(f"dial tcp 127.0.0.1:{port}: connect: connection refused")
    assert (await api.get(f"{LIST}/nothing")).status == 404
