"""Informers shared by many: each user waits for its own, metadata can be all there is, leaders take turns."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from sampan.api.core_v1 import ConfigMap, Pod
from sampan.api.meta_v1 import PartialObject
from sampan.client.informer import Informers
from sampan.client.leader import LeaderElector
from sampan.client.own_informers import OwnInformers
from sampan.client.queue_metrics import QueueMetrics
from sampan.client.resources import CONFIG_MAPS, LEASES, PODS, Resource
from sampan.client.rest import METADATA_LIST, Client
from sampan.client.workqueue import WorkQueue
from sampan.http.metrics import Registry
from support.apiserver import running_apiserver

NOWHERE = Resource("example.com", "v1", "nowheres", "Nowhere")


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


@asynccontextmanager
async def running(informers):
    task = asyncio.create_task(informers.run())
    try:
        yield
    finally:
        task.cancel()


def test_a_resource_that_cannot_be_listed_holds_up_only_those_who_asked_for_it():
    async def check():
        async with running_apiserver() as config:
            client = Client(config)
            shared = Informers(client)
            able, unable = OwnInformers(shared), OwnInformers(shared)
            able.of(PODS, Pod)
            unable.of(PODS, Pod)
            unable.of(NOWHERE, PartialObject)
            async with running(shared):
                await able.wait_synced()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(unable.wait_synced(), 0.1)
                assert [one.resource for one in shared.missing()] == [NOWHERE]
            await client.close()

    run(check())


def test_everyone_finds_the_informer_of_all_objects_of_a_resource_but_not_of_some():
    shared = Informers(client=None)
    OwnInformers(shared).of(CONFIG_MAPS, ConfigMap, field_selector="metadata.name=one")
    assert OwnInformers(shared).find(CONFIG_MAPS) is None
    everything = OwnInformers(shared).of(CONFIG_MAPS, ConfigMap)
    assert OwnInformers(shared).find(CONFIG_MAPS) is everything


def test_an_informer_of_metadata_alone_is_sent_nothing_else():
    async def check():
        async with running_apiserver() as config:
            client = Client(config)
            obj = {"metadata": {"name": "one", "labels": {"a": "b"}}, "data": {"key": "value"}}
            await client.create(CONFIG_MAPS, obj, "default")
            raw = await client.call("GET", CONFIG_MAPS.path("default"), accept=METADATA_LIST)
            assert b'"a":"b"' in raw
            assert b"value" not in raw
            shared = Informers(client)
            informer = shared.of(CONFIG_MAPS, PartialObject, metadata_only=True)
            async with running(shared):
                await informer.wait_synced()
                assert informer.get("default", "one").metadata.labels == {"a": "b"}
                seen = asyncio.Event()
                informer.add_handler(lambda old, new: seen.set() if new and new.metadata.name == "two" else None)
                await client.create(CONFIG_MAPS, {"metadata": {"name": "two"}, "data": {"x": "y"}}, "default")
                await seen.wait()
            await client.close()

    run(check())


def test_of_two_candidates_one_leads_and_the_other_follows_when_it_stops():
    async def check():
        async with running_apiserver() as config:
            client = Client(config)
            leading, leads = [], {"a": asyncio.Event(), "b": asyncio.Event()}

            async def campaign(name):
                async def lead():
                    leading.append(name)
                    leads[name].set()
                    try:
                        await asyncio.Event().wait()
                    finally:
                        leading.remove(name)

                elector = LeaderElector(client, "kube-system", "test", name, lease_seconds=0.6, retry_seconds=0.05)
                await elector.run(lead)

            first = asyncio.create_task(campaign("a"))
            await leads["a"].wait()
            second = asyncio.create_task(campaign("b"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(leads["b"].wait(), 1.0)
            assert leading == ["a"]
            first.cancel()
            await leads["b"].wait()
            assert leading == ["b"]
            lease = await client.get(LEASES, "test", "kube-system")
            assert lease["spec"]["holderIdentity"] == "b"
            assert lease["spec"]["leaseTransitions"] == 1
            second.cancel()
            await asyncio.wait([second])
            await client.close()

    run(check())


def test_a_queue_tells_how_it_is_doing():
    async def check():
        registry = Registry()
        queue = WorkQueue("things", QueueMetrics(registry))
        queue.add("a")
        queue.add("b")
        queue.add("a")
        queue.done(await queue.get())
        queue.add_rate_limited("c")
        queue.shutdown()
        lines = registry.render().decode().splitlines()
        assert 'workqueue_depth{name="things"} 1' in lines
        assert 'workqueue_adds_total{name="things"} 2' in lines
        assert 'workqueue_retries_total{name="things"} 1' in lines
        assert 'workqueue_queue_duration_seconds_count{name="things"} 1' in lines
        assert 'workqueue_work_duration_seconds_count{name="things"} 1' in lines

    run(check())
