"""Credentials from a kubeconfig and from inside a pod."""

import base64
import textwrap

import pytest

from sampan.client.config import Config, ConfigError

PEM = base64.b64encode(b"PEM").decode()
GOOD = f"""
    current-context: a
    contexts:
    - {{name: a, context: {{cluster: c, user: u}}}}
    - {{name: anonymous, context: {{cluster: c}}}}
    clusters:
    - {{name: c, cluster: {{server: 'https://h:6443/', certificate-authority-data: {PEM}}}}}
    users:
    - {{name: u, user: {{client-certificate: tls.crt, client-key: tls.key, token: t}}}}
    """


def write(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(textwrap.dedent(text))
    return path


def test_the_current_context_is_read_and_files_are_relative_to_the_kubeconfig(tmp_path):
    config = Config.from_kubeconfig(write(tmp_path, GOOD))
    assert config.server == "https://h:6443"
    assert config.ca_data == "PEM"
    assert config.cert_file == str(tmp_path / "tls.crt")
    assert config.bearer_token() == "t"


def test_a_context_without_user_is_anonymous(tmp_path):
    assert Config.from_kubeconfig(write(tmp_path, GOOD), "anonymous").token == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- just\n- a list", "not a kubeconfig"),
        ("a: [", "not YAML"),
        ("current-context: a", 'no context named "a"'),
        (GOOD.replace("cluster: c,", "cluster: other,"), 'no cluster named "other"'),
        (GOOD.replace(PEM, "'*'"), "not base64"),
        (GOOD.replace("server: 'https://h:6443/', ", ""), "no server"),
    ],
)
def test_an_unusable_kubeconfig_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_kubeconfig(write(tmp_path, text))


def test_inside_a_pod_the_service_account_is_used(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    config = Config.in_cluster(environment, tmp_path)
    assert config.server == "https://[fd00::1]:443"
    assert config.bearer_token() == "secret"


def test_outside_a_pod_in_cluster_says_so():
    with pytest.raises(ConfigError, match="not in a cluster"):
        Config.in_cluster({})
