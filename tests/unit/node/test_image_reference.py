"""Image names mean what they mean to Docker, and wrong ones are refused in its words."""

import pytest

from sampan.node.images.reference import default_policy, parse
from sampan.node.images.registry import base_url
from sampan.node.images.types import InvalidImageName

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.7.9", "docker.io/library/nginx:1.7.9"),
        ("bitnami/redis", "docker.io/bitnami/redis:latest"),
        ("docker.io/nginx:1", "docker.io/library/nginx:1"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("10.2.2.10:5000/mysql:5.7-utf8", "10.2.2.10:5000/mysql:5.7-utf8"),
        ("registry.k8s.io/a/b/c:1", "registry.k8s.io/a/b/c:1"),
        (f"nginx@{SHA}", f"docker.io/library/nginx@{SHA}"),
        (f"nginx:1@{SHA}", f"docker.io/library/nginx@{SHA}"),
        ("a__b/c-d_e.f", "docker.io/a__b/c-d_e.f:latest"),
    ],
)
def test_names_are_completed(text: str, full: str) -> None:
    assert str(parse(text)) == full


@pytest.mark.parametrize(
    "text", ["", ":1", "nginx:", "a b", "nginx:-1", "nginx@sha256:1", "/nginx", "a//b", "nginx@", "x" * 300, "a/../b"]
)
def test_wrong_names_are_refused(text: str) -> None:
    with pytest.raises(InvalidImageName, match="invalid reference format"):
        parse(text)


def test_upper_case_has_its_own_message() -> None:
    with pytest.raises(InvalidImageName, match="repository name must be lowercase"):
        parse("library/Nginx")


@pytest.mark.parametrize(
    ("text", "policy"),
    [("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1", "IfNotPresent"), (f"nginx@{SHA}", "IfNotPresent")],
)
def test_only_the_tag_latest_is_always_pulled(text: str, policy: str) -> None:
    assert default_policy(text) == policy


@pytest.mark.parametrize(
    ("domain", "url"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("quay.io", "https://quay.io"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("10.2.2.10:5000", "http://10.2.2.10:5000"),
        ("192.0.32.7", "https://192.0.32.7"),
    ],
)
def test_private_registries_are_spoken_to_without_tls(domain: str, url: str) -> None:
    assert base_url(domain) == url
