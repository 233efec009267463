"""The Corefile: what it means, and that every mistake is told with its line."""

import subprocess
import sys
from pathlib import Path

import pytest

from sampan.dns import config, defaults, plugins
from sampan.dns.corefile import CorefileError, parse, zones_of
from sampan.dns.plugins.forward_options import ForwardOptions, Target
from sampan.dns.plugins.table import PLUGINS, kind_of


def test_blocks_directives_and_options_are_read_with_their_lines():
    (block,) = parse('. example.org:1053, {  # comment\n\n  log "a b" {\n class all\n }\n  errors\n}\n')
    assert block.keys == (".", "example.org:1053")
    log, errors = block.directives
    assert (log.name, log.arguments, log.line, errors.line) == ("log", ("a b",), 3, 6)
    assert [(option.name, option.arguments, option.line) for option in log.options] == [("class", ("all",), 4)]


def test_variables_and_snippets_are_put_in():
    text = "(common) {\n errors\n cache {$TTL}\n}\n. {\n import common\n}\n"
    (block,) = parse(text, environment={"TTL": "17"})
    assert [(each.name, each.arguments) for each in block.directives] == [("errors", ()), ("cache", ("17",))]


def test_the_chain_has_the_tables_order_whatever_the_files():
    (server,) = config.read(". {\n forward . 10.0.0.1\n cache\n errors\n kubernetes\n}").servers
    assert [kind.name for kind, _ in server.plugins] == ["errors", "kubernetes", "cache", "forward"]


def test_every_plugin_stands_in_the_table_once():
    """A module with a KIND is a plugin, and is found under its own name."""
    folder = Path(plugins.__file__).parent
    modules = {file.stem for file in folder.glob("*.py") if "\nKIND = " in file.read_text()}
    assert modules == set(PLUGINS)
    assert len(modules) == len(PLUGINS)
    assert [kind_of(name).name for name in PLUGINS] == list(PLUGINS)


def test_plugins_that_a_corefile_does_not_have_are_not_imported():
    code = "import sys; from sampan.dns import config; config.read('. {\\nwhoami\\n}'); "
    code += "print([name for name in sys.modules if name.endswith(('.template', '.rewrite', '.hosts', '.whoami'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['sampan.dns.plugins.whoami']\n"


def test_kubeadms_corefile_is_understood():
    (server,) = config.read(defaults.cluster("cluster.local", upstream="10.0.0.1")).servers
    kubernetes = server.options("kubernetes")
    assert (server.zones, server.port) == (("",), 53)
    assert kubernetes.domains == ("cluster.local",)
    assert kubernetes.reverse == kubernetes.fallthrough == ("in-addr.arpa", "ip6.arpa")
    assert (kubernetes.zone.pods, kubernetes.zone.ttl) == ("insecure", 30)
    assert server.options("health").lameduck == 5
    assert server.options("forward") == ForwardOptions(
        servers=(Target(("10.0.0.1", 53)),), max_concurrent=1000, fail_fast=True
    )
    assert server.options("cache").success.most == 30
    assert server.options("prometheus") == ("", 9153)


def test_the_node_local_corefile_is_understood():
    text = defaults.node_local("cluster.local", "169.254.20.10", upstream="10.0.0.1")
    (server,) = config.read(text).servers
    assert server.options("bind") == ("169.254.20.10",)
    assert server.options("health").address == ("169.254.20.10", 8080)
    assert server.options("kubernetes").domains == ("cluster.local",)
    assert server.options("forward").servers == (Target(("10.0.0.1", 53)),)


def test_the_port_of_blocks_that_name_none_can_be_chosen():
    servers = config.read("a.example {\n errors\n}\nb.example:99 {\n errors\n}", port=1053).servers
    assert [server.port for server in servers] == [1053, 99]


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        (".", ("",)),
        ("Example.ORG.", ("example.org",)),
        ("10.0.0.0/8", ("10.in-addr.arpa",)),
        ("10.96.0.0/16", ("96.10.in-addr.arpa",)),
        ("10.96.0.0/15", ("96.10.in-addr.arpa", "97.10.in-addr.arpa")),
        ("fd00::/8", ("d.f.ip6.arpa",)),
        ("", ()),
        ("a..b", ()),
        ("x" * 64, ()),
        ("1.2.3.4/99", ()),
    ],
)
def test_a_zone_is_a_name_or_a_network(text, zones):
    assert zones_of(text) == zones


def block(*lines):
    return "\n".join((". {", *lines, "}"))


MISTAKES = [
    ("", 1, "no server block"),
    (". \n", 1, "expected '{' behind '.'"),
    (". {\n errors\n", 1, "a block that is not closed"),
    (". {\n errors }\n", 2, "a brace must stand at the end of a line, or alone"),
    (". {\n log \"x\n}", 2, "a quote that is not closed"),
    ("tls://. {\n}", 1, "'tls://.': only plain DNS is served"),
    (".:99999 {\n}", 1, "'.:99999' has no port number"),
    ("a..b {\n}", 1, "'a..b' is not a zone"),
    (". {\n}\n. {\n}", 3, ".:53 is already served from line 1"),
    (block("errors", "", "forwrd . 10.0.0.1"), 4, "unknown directive 'forwrd'"),
    (block("import none"), 2, "import: no snippet 'none'"),
    (block("errors", "errors"), 3, "errors: stands here twice"),
    (block("forward ."), 2, "forward: takes at least 2 arguments, not 1"),
    (block("forward . resolver"), 2, "forward: 'resolver' is neither an address nor a file"),
    (block("forward . /no/such/file"), 2, "forward: /no/such/file: no such file"),
    (block("forward . https://9.9.9.9"), 2,
     "forward: 'https://9.9.9.9': resolvers are asked over dns:// or tls://"),
    (block("forward . 10.0.0.1 {", "max_fails x", "}"), 3, "forward: 'x' is not a number from 0 to 2147483648"),
    (block("forward . 10.0.0.1 {", "max_fails", "}"), 3, "forward: 'max_fails' takes 1 argument, not 0"),
    (block("forward . 10.0.0.1 {", "polizy random", "}"), 3, "forward: unknown option 'polizy'"),
    (
        block("forward . 10.0.0.1 {", "policy best", "}"),
        3,
        "forward: unknown policy 'best'; there are random, round_robin, sequential",
    ),
    (block("forward . 10.0.0.1 {", "expire soon", "}"), 3, "forward: 'soon' is not a duration such as 5s or 1m30s"),
    (block("forward . 10.0.0.1 {", "health_check 1s now", "}"), 3, "forward: unknown health_check option 'now'"),
    (block("forward . 10.0.0.1 {", "policy random {", "}", "}"), 3, "forward: 'policy' has no block"),
    (block("kubernetes {", "pods some", "}"), 3,
     "kubernetes: unknown mode 'some' of pods; there are disabled, insecure, verified"),
    (block("kubernetes {", "ttl 9999", "}"), 3, "kubernetes: '9999' is not a number from 0 to 3600"),
    (block("kubernetes {", "downstream", "}"), 3, "kubernetes: unknown option 'downstream'; there are endpoint, "),
    (block("cache {", "serve_stale 1h never", "}"), 3,
     "cache: unknown refresh mode 'never'; there are immediate, verify"),
    (block("cache {", "prefetch 1 1m 95%", "}"), 3, "cache: '95%' is not a percentage from 10% to 90%"),
    (block("cache {", "servfail 10m", "}"), 3, "cache: SERVFAIL may be kept for 5m at most"),
    (block("health {", "lameduk 5s", "}"), 3, "health: unknown option 'lameduk'"),
    (block("ready 8181"), 2, "ready: '8181' is not an address to listen at, such as :8181"),
    (block("bind eth0"), 2, "bind: 'eth0' is not an address"),
    (block("hosts {", "10.0.0.1", "}"), 3, "hosts: '10.0.0.1' takes at least 1 arguments, not 0"),
    (block("log {", "class some", "}"), 3, "log: unknown class 'some'; there are success, denial, error, all"),
    (block("loadbalance weighted"), 2, "loadbalance: unknown policy 'weighted'"),
    (block("autopath @nowhere"), 2, "autopath: unknown source '@nowhere'; there is @kubernetes"),
    (block("rewrite colour a b"), 2,
     "rewrite: cannot rewrite 'colour'; there are name, type, class, edns0, ttl, cname, rcode"),
    (block("rewrite name glob a b"), 2,
     "rewrite: unknown way to match 'glob'; there are exact, prefix, suffix, substring, regex"),
    (block("rewrite name regex ( b"), 2, "rewrite: '(' is not a regular expression: missing )"),
    (block("template IN A {", "rcode MAYBE", "}"), 3, "template: 'MAYBE' is not a response code"),
    (block("errors {", "consolidate 5m", "}"), 3, "errors: 'consolidate' takes 2 to 4 arguments, not 1"),
    (block("bufsize 100"), 2, "bufsize: '100' is not a number from 512 to 4096"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "problem"), MISTAKES)
def test_a_mistake_is_told_with_its_line(text, line, problem):
    with pytest.raises(CorefileError) as caught:
        config.read(text)
    assert str(caught.value).startswith(f"Corefile:{line}: {problem}")
