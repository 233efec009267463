"""Fixtures of the end-to-end tests: one cluster for all that do not need their own, a namespace for each test."""

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e_support import NAME, SAMPAN, Cluster, Kubectl, run

_NUMBERS = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def sampan_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory and a kubeconfig of the tests' own."""
    home = tmp_path_factory.mktemp("sampan")
    before = {name: os.environ.get(name) for name in ("SAMPAN_HOME", "KUBECONFIG")}
    os.environ["SAMPAN_HOME"] = str(home)
    os.environ["KUBECONFIG"] = str(home / "kubeconfig")
    yield home
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def cluster(sampan_home: Path) -> Iterator[Cluster]:
    """Three nodes, started once for the session."""
    if os.geteuid() != 0 or not shutil.which("kubectl"):
        pytest.fail("the end-to-end tests need root and kubectl; `make test` prepares both")
    run(SAMPAN, "up", "--name", NAME, "--nodes", "3")
    try:
        yield Cluster(NAME, Kubectl(sampan_home / "kubeconfig", f"sampan-{NAME}"))
    finally:
        run(SAMPAN, "down", "--name", NAME)


@pytest.fixture(scope="session")
def ingress_cluster(sampan_home: Path) -> Iterator[Cluster]:
    """Three nodes and the ingress controller, for the tests of Ingresses."""
    name = f"{NAME}-ingress"
    run(SAMPAN, "up", "--name", name, "--nodes", "3", "--ingress")
    try:
        yield Cluster(name, Kubectl(sampan_home / "kubeconfig", f"sampan-{name}"))
    finally:
        run(SAMPAN, "down", "--name", name)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """A namespace for one test; its kubectl uses it."""
    with _namespace(cluster, request) as kubectl:
        yield kubectl


@pytest.fixture
def ingress_namespace(ingress_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """The same where Ingresses are served."""
    with _namespace(ingress_cluster, request) as kubectl:
        yield kubectl


@contextmanager
def _namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-") + f"-{next(_NUMBERS)}"
    cluster.kubectl(f"create namespace {name}")
    yield cluster.kubectl.within(name)
    cluster.kubectl(f"delete namespace {name} --wait=false")
