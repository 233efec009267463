"""The table of components is consistent, and each one's options can be made from a context."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from sampan.cluster import pki
from sampan.cluster.components import Component, Context, table
from sampan.cluster.config import build
from sampan.cluster.paths import ClusterPaths

CONFIG = build({"nodes": [{"name": "edge", "labels": {"zone": "a"}, "taints": [{"key": "k", "effect": "NoSchedule"}]}]})
TABLE = table(CONFIG)


def by_name(component: Component) -> str:
    return component.name


@pytest.mark.parametrize("component", TABLE, ids=by_name)
def test_a_component_runs_a_coroutine_function_of_options_and_ready(component: Component) -> None:
    module, _, function = component.run.partition(":")
    run = getattr(import_module(module), function)
    assert inspect.iscoroutinefunction(run)
    assert list(inspect.signature(run).parameters)[1] == "ready"


@pytest.mark.parametrize("component", TABLE, ids=by_name)
def test_options_are_made_and_name_only_files_that_exist(component: Component, tmp_path: Path) -> None:
    paths = ClusterPaths(tmp_path, "dev")
    paths.make()
    pki.create(paths.pki, CONFIG)
    options = component.options(Context(CONFIG, paths))
    config = getattr(options, "config", None)
    if config is not None:
        assert config.server == "https://10.2.2.1:6443"
        for file in (config.ca_file, config.cert_file, config.key_file):
            assert Path(file).exists()
    for name in ("serving_cert", "serving_key", "client_ca", "ca_file"):
        file = getattr(options, name, None)
        assert file is None or file.exists()


def test_names_are_unique_and_what_is_waited_for_exists() -> None:
    names = [component.name for component in TABLE]
    assert len(set(names)) == len(names)
    for position, component in enumerate(TABLE):
        assert set(component.after) <= set(names[:position])


def test_every_node_has_an_agent_and_a_proxy_in_its_network() -> None:
    three = table(build({}))
    for node in ("node-1", "node-2", "node-3"):
        assert {component.name for component in three if component.node == node} >= {f"{node}-agent", f"{node}-proxy"}


def test_without_load_balancing_nothing_of_it_runs(tmp_path: Path) -> None:
    config = build({"loadBalancer": {"enabled": False}})
    components = {component.name: component for component in table(config)}
    context = Context(config, ClusterPaths(tmp_path, "dev"))
    assert components["node-1-proxy"].run == "sampan.proxy.main:run"
    assert components["node-1-proxy"].options(context).ipvs_strict_arp is False
    assert components["controllers"].options(context).load_balancer is None


def test_every_speaker_has_the_secret_of_its_cluster(tmp_path: Path) -> None:
    keys = []
    for name in ("one", "two"):
        paths = ClusterPaths(tmp_path, name)
        paths.make()
        pki.create(paths.pki, CONFIG)
        context = Context(build({}), paths)
        made = [one.options(context).speaker for one in table(context.config) if one.name.endswith("-proxy")]
        assert {one.node_name for one in made} == {"node-1", "node-2", "node-3"}
        [key] = {one.key for one in made}
        keys.append(key)
    assert keys[0] != keys[1]


def test_a_nodes_labels_and_taints_reach_its_agent(tmp_path: Path) -> None:
    (agent,) = [component for component in TABLE if component.name == "edge-agent"]
    options = agent.options(Context(CONFIG, ClusterPaths(tmp_path, "dev")))
    assert options.labels == {"zone": "a"}
    assert options.taints == ({"key": "k", "value": "", "effect": "NoSchedule"},)
