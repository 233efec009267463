"""Quotas: what objects take of them, and that nothing is stored beyond them, however many come at once."""

import asyncio

import pytest

from sampan.api import quotas
from sampan.machinery import quantity
from support.api import served

NAMESPACE = "/api/v1/namespaces/default"


def container(**requests):
    return {"name": "c", "image": "host", "resources": {"requests": requests}}


def pod(name, *containers):
    spec = {"containers": list(containers) or [container()], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def quota(**hard):
    named = {name.replace("__", "/").replace("_", "."): amount for name, amount in hard.items()}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": named}}


@pytest.mark.parametrize(
    ("resource", "obj", "used"),
    [
        ("pods", pod("p"), {"pods": "1", "count/pods": "1"}),
        ("pods", pod("p", container(cpu="100m"), container(cpu="1")), {"requests.cpu": "1100m"}),
        ("pods", pod("p", container(cpu="100m")), {"cpu": "100m"}),
        ("pods", {**pod("p"), "status": {"phase": "Failed"}}, {"pods": "0", "count/pods": "1"}),
        ("services", {"spec": {"type": "NodePort", "ports": [{}, {}]}}, {"services": "1", "services.nodeports": "2"}),
        ("services", {"spec": {"type": "LoadBalancer", "ports": [{}]}}, {"services.loadbalancers": "1"}),
        (
            "services",
            {"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{}]}},
            {"services.nodeports": "0"},
        ),
        (
            "persistentvolumeclaims",
            {"spec": {"resources": {"requests": {"storage": "2Gi"}}}},
            {"requests.storage": "2Gi", "persistentvolumeclaims": "1"},
        ),
        ("deployments.apps", {}, {"count/deployments.apps": "1"}),
    ],
)
def test_an_object_takes_of_what_is_limited(resource, obj, used):
    assert quotas.total(resource, [obj], used) == {name: quantity.parse(text) for name, text in used.items()}


async def with_account(api):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await api.post(f"{NAMESPACE}/serviceaccounts", account)


@served
async def test_pods_that_come_at_once_share_one_allowance(api):
    await with_account(api)
    await api.post(f"{NAMESPACE}/resourcequotas", quota(pods="2"))
    answers = await asyncio.gather(*(api.post(f"{NAMESPACE}/pods", pod(f"p{number}")) for number in range(6)))
    assert sorted(answer.status for answer in answers) == [201, 201, 403, 403, 403, 403]
    message = next(answer for answer in answers if answer.status == 403).json["message"]
    assert message.endswith("is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2")


@served
async def test_pods_must_say_what_a_quota_limits(api):
    await with_account(api)
    await api.post(f"{NAMESPACE}/resourcequotas", quota(requests_cpu="150m"))
    silent = await api.post(f"{NAMESPACE}/pods", pod("silent"))
    expected = 'pods "silent" is forbidden: failed quota: q: must specify requests.cpu for: c'
    assert (silent.status, silent.json["message"]) == (403, expected)
    assert (await api.post(f"{NAMESPACE}/pods", pod("one", container(cpu="100m")))).status == 201
    assert (await api.post(f"{NAMESPACE}/pods", pod("two", container(cpu="100m")))).status == 403


@served
async def test_objects_of_any_kind_are_counted(api):
    await with_account(api)
    await api.post(f"{NAMESPACE}/resourcequotas", quota(configmaps="1", count__leases_coordination_k8s_io="0"))
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c"}}
    assert (await api.post(f"{NAMESPACE}/configmaps", config_map)).status == 201
    refused = await api.post(f"{NAMESPACE}/configmaps", config_map)
    assert refused.status == 403
    assert "exceeded quota: q, requested: configmaps=1, used: configmaps=1" in refused.json["message"]
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    refused = await api.post("/apis/coordination.k8s.io/v1/namespaces/default/leases", lease)
    assert 'leases.coordination.k8s.io "l" is forbidden: exceeded quota' in refused.json["message"]
