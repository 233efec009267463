"""What goes with its owner, its Service or its namespace, against a real API server."""

import base64

import pytest

from sampan.client.config import Config
from sampan.client.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from sampan.client.rest import Client
from sampan.machinery.errors import NotFound
from support.controlplane import play, service, workload


def test_every_namespace_gets_its_account_and_the_root_ca_and_leaves_nothing_behind():
    async def scenario(plane):
        client = plane.client
        await client.create(NAMESPACES, {"metadata": {"name": "team"}})

        async def furnished():
            accounts, maps = await plane.items(SERVICE_ACCOUNTS, "team"), await plane.items(CONFIG_MAPS, "team")
            return accounts and maps and (accounts[0], maps[0])

        account, ca = await plane.until(furnished, "account and CA")
        assert account["metadata"]["name"] == "default"
        assert (ca["metadata"]["name"], ca["data"]["ca.crt"][:10]) == ("kube-root-ca.crt", "-----BEGIN")
        await client.delete(CONFIG_MAPS, "kube-root-ca.crt", "team")
        await plane.until(furnished, "the CA comes back")
        await client.create(DEPLOYMENTS, {**workload(), "metadata": {"name": "web", "namespace": "team"}})

        async def pods():
            return len(await plane.items(PODS, "team")) == 2

        await plane.until(pods, "two pods")
        await client.delete(NAMESPACES, "team")

        async def gone():
            try:
                await client.get(NAMESPACES, "team")
            except NotFound:
                return True
            return False

        await plane.until(gone, "the namespace is gone")
        assert not await plane.items(PODS, "team")
        assert not await plane.items(DEPLOYMENTS, "team")

    play(scenario, "node-1")


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
def test_what_a_deployment_owns_goes_with_it_or_stays_as_asked(propagation):
    async def scenario(plane):
        client = plane.client
        await client.create(DEPLOYMENTS, workload())
        await plane.available("web", 2)
        await client.delete(DEPLOYMENTS, "web", "default", propagation=propagation)
        await plane.gone(DEPLOYMENTS)
        if propagation == "Foreground":
            assert not await plane.items(REPLICA_SETS)
        if propagation == "Orphan":
            (left,) = await plane.items(REPLICA_SETS)
            assert not left["metadata"].get("ownerReferences")
            assert len(await plane.items(PODS)) == 2
        else:
            await plane.gone(REPLICA_SETS)
            await plane.gone(PODS)

    play(scenario, "node-1")


def test_an_object_whose_owner_never_existed_is_collected():
    async def scenario(plane):
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "no-such-uid"}
        metadata = {"name": "child", "ownerReferences": [reference]}
        await plane.client.create(CONFIG_MAPS, {"metadata": metadata}, "default")
        await plane.gone(CONFIG_MAPS, prefix="child")

    play(scenario)


def test_slices_deleted_by_hand_come_back_and_go_with_their_service():
    async def scenario(plane):
        client = plane.client
        await client.create(SERVICES, service())

        async def one_slice():
            found = await plane.items(ENDPOINT_SLICES, prefix="web-")
            return len(found) == 1 and found[0]

        first = await plane.until(one_slice, "an empty slice")
        assert first["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
        await client.delete(ENDPOINT_SLICES, first["metadata"]["name"], "default")

        async def another():
            found = await one_slice()
            return found and found["metadata"]["uid"] != first["metadata"]["uid"]

        await plane.until(another, "another slice")

        async def has_endpoints():
            return await plane.items(ENDPOINTS, prefix="web")

        await plane.until(has_endpoints, "an Endpoints object")
        await client.delete(SERVICES, "web", "default")
        await plane.gone(ENDPOINTS, prefix="web")
        await plane.gone(ENDPOINT_SLICES, prefix="web-")

    play(scenario)


def test_endpoints_made_by_hand_are_mirrored_followed_and_removed():
    async def scenario(plane):
        client = plane.client
        await client.create(SERVICES, service("ext", selector={}, ports=[{"name": "http", "port": 80}]))

        def endpoints(ip):
            subsets = [{"addresses": [{"ip": ip}], "ports": [{"port": 8080}]}]
            return {"metadata": {"name": "ext", "namespace": "default"}, "subsets": subsets}

        await client.create(ENDPOINTS, endpoints("192.0.2.1"))

        async def mirrors(ip):
            found = await plane.items(ENDPOINT_SLICES, prefix="ext-")
            return len(found) == 1 and await plane.slice_addresses("ext") == {ip} and found[0]

        mirror = await plane.until(lambda: mirrors("192.0.2.1"), "a mirror")
        assert mirror["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
        await client.update(ENDPOINTS, endpoints("192.0.2.2"))
        await plane.until(lambda: mirrors("192.0.2.2"), "the mirror follows")
        await client.delete(ENDPOINTS, "ext", "default")
        await plane.gone(ENDPOINT_SLICES, prefix="ext-")

    play(scenario)


def test_a_token_secret_is_filled_and_goes_with_its_account():
    async def scenario(plane):
        def token_secret(name, account):
            annotations = {"kubernetes.io/service-account.name": account}
            metadata = {"name": name, "namespace": "default", "annotations": annotations}
            return {"metadata": metadata, "type": "kubernetes.io/service-account-token"}

        account = await plane.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "default"}})
        await plane.client.create(SECRETS, token_secret("robot-token", "robot"))
        await plane.client.create(SECRETS, token_secret("lost", "nobody"))

        async def filled():
            secret = await plane.client.get(SECRETS, "robot-token", "default")
            return secret if secret.get("data", {}).keys() == {"ca.crt", "namespace", "token"} else None

        secret = await plane.until(filled, "the Secret has a token")
        assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == account["metadata"]["uid"]
        robot = Client(Config(plane.config.server, ca_file=plane.config.ca_file, token=token_of(secret)))
        assert (await robot.get(SERVICE_ACCOUNTS, "robot", "default"))["metadata"]["name"] == "robot"
        await robot.close()
        await plane.gone(SECRETS, prefix="lost")
        await plane.client.delete(SERVICE_ACCOUNTS, "robot", "default")
        await plane.gone(SECRETS, prefix="robot-token")

    play(scenario)


def token_of(secret):
    return base64.b64decode(secret["data"]["token"]).decode()
