"""What a Corefile imports: snippets, files, patterns; environment variables; mistakes told with their file and line."""

import dns.message
import pytest

from sampan.dns import config
from sampan.dns.corefile import parse
from sampan.dns.generation import Generation
from sampan.dns.imports import Files
from sampan.dns.lines import CorefileError
from sampan.dns.metrics import Metrics

CLOUD = """\
.:53 {
    errors
    import custom/*.override
    forward . 10.0.0.1
}
import custom/*.server
"""
"""As managed clusters have it: administrators add files to `custom`, and never touch this one."""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "custom").mkdir()
    return tmp_path


def read(text, folder, **environment):
    return config.read(text, environment=environment, files=Files(folder))


def names(server):
    return [kind.name for kind, _ in server.plugins]


def test_files_that_match_are_put_in_and_none_need_match(folder):
    (server,) = read(CLOUD, folder).servers
    assert names(server) == ["errors", "forward"]
    (folder / "custom/b.override").write_text("log\n")
    (folder / "custom/a.override").write_text("hosts {\n10.9.9.9 a.example\nfallthrough\n}\n")
    (folder / "custom/c.server").write_text("corp.example:53 {\n forward . 10.9.9.53\n}\n")
    (folder / "custom/ignored").write_text("nonsense\n")
    first, second = read(CLOUD, folder).servers
    assert names(first) == ["errors", "log", "hosts", "forward"]
    assert second.zones == ("corp.example",)


def test_snippets_are_put_in_wherever_they_are_named(folder):
    text = "(common) {\nerrors\ncache {$TTL}\n}\n(bounds) {\nsuccess 10 20\n}\n"
    text += ". {\nimport common\n}\na.example {\nimport common\nlog\n}\nb.example {\ncache {\nimport bounds\n}\n}\n"
    first, second, third = read(text, folder, TTL="17").servers
    assert (names(first), names(second)) == (["errors", "cache"], ["errors", "log", "cache"])
    assert first.options("cache").success.most == 17
    assert third.options("cache").success.capacity == 10


def test_a_snippet_may_hold_whole_server_blocks_and_an_imported_file_may_define_one(folder):
    (folder / "more").write_text("(common) {\nwhoami\n}\n(blocks) {\nb.example {\nimport common\n}\n}\n")
    first, second = read("import more\na.example {\nimport common\n}\nimport blocks\n", folder).servers
    assert (first.zones, second.zones) == (("a.example",), ("b.example",))
    assert names(first) == names(second) == ["whoami"]


def test_paths_are_relative_to_the_file_that_imports(folder):
    (folder / "custom/all").write_text("import one.override\n")
    (folder / "custom/one.override").write_text("whoami\n")
    assert names(read(". {\nimport custom/all\n}\n", folder).servers[0]) == ["whoami"]
    (folder / "absolute").write_text("chaos\n")
    assert names(read(f". {{\nimport {folder}/absolute\n}}\n", folder).servers[0]) == ["chaos"]


@pytest.mark.parametrize("form", ["{$NAME}", "{%NAME%}"])
def test_variables_of_the_environment_are_put_in(folder, form):
    (block,) = parse(f'{form}.example {{\ntemplate IN A x.{form} {{\nanswer "{form}.example. IN A 10.1.1.1"\n}}\n}}',
                     environment={"NAME": "shop"})  # fmt: skip
    assert block.keys == ("shop.example",)
    assert block.directives[0].arguments[-1] == "x.shop"
    assert block.directives[0].options[0].arguments == ("shop.example. IN A 10.1.1.1",)


def test_a_variable_that_is_not_set_is_nothing_and_places_of_templates_are_no_variables():
    (block,) = parse('. {\nlog . "{$NONE}{remote} {{ .Name }}"\n}')
    assert block.directives[0].arguments == (".", "{remote} {{ .Name }}")


MISTAKES = [
    ("import none", {}, "Corefile:2: import: no snippet 'none', and none: no such file or directory"),
    ("import a b", {}, "Corefile:2: import: takes 1 argument"),
    ("import custom/*.*", {}, "Corefile:2: import: no snippet 'custom/*.*', and 'custom/*.*' may have one wildcard"),
    ("import a", {"a": "errors\nforwrd . 1\n"}, "a:2: unknown directive 'forwrd'; there are acl, any, "),
    ("import custom/*", {"custom/x": "\n\ncache {\nttl 5\n}\n"}, "custom/x:4: cache: unknown option 'ttl'; there are "),
    ("import a", {"a": "cache {\n"}, "a:1: a block that is not closed"),
    ("import a", {"a": "errors\n}\n"}, "a:2: a brace that closes nothing"),
    ("import a", {"a": "errors\n\"\n"}, "a:2: a quote that is not closed"),
    ("import a", {"a": "import b\n", "b": "import a\n"}, "b:1: import: imports itself, or too much is imported"),
    ("file db.example", {}, "Corefile:2: CoreDNS has a plugin 'file', this server does not; there are acl, any, "),
]  # fmt: skip


@pytest.mark.parametrize(("line", "files", "problem"), MISTAKES)
def test_a_mistake_names_its_file_and_line(folder, line, files, problem):
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(CorefileError) as caught:
        read(f". {{\n{line}\n}}\n", folder)
    assert str(caught.value).startswith(problem)


def test_a_snippet_that_imports_itself_and_one_that_is_defined_twice_are_mistakes(folder):
    with pytest.raises(CorefileError, match="Corefile:2: import: imports itself"):
        read("(a) {\nimport a\n}\n. {\nimport a\n}\n", folder)
    with pytest.raises(CorefileError, match="Corefile:3: there is a snippet 'a' already"):
        read("(a) {\n}\n(a) {\n}\n. {\n}\n", folder)


def test_the_same_zone_in_an_imported_file_is_told_with_both_places(folder):
    (folder / "custom/x.server").write_text("\n.:53 {\nwhoami\n}\n")
    with pytest.raises(CorefileError, match=r"custom/x\.server:2: \.:53 is already served from line 1"):
        read(CLOUD, folder)


def test_the_digest_is_of_everything_that_was_read(folder):
    def digest():
        return config.reading(CLOUD, "Corefile", folder, 53, {}).digest

    seen = {digest()}
    for name, text in (
        ("a.override", "log\n"),
        ("a.override", "log .\n"),
        ("b.server", "b {\n}\n"),
        ("c.override", "x"),
    ):
        (folder / "custom" / name).write_text(text)
        seen.add(digest())
    assert len(seen) == 5
    (folder / "custom/ignored").write_text("")
    assert digest() in seen


def test_keys_go_on_behind_a_comma_and_stand_for_ports_and_zones(folder):
    first, second = read("a.example, b.example:1053,\n10.0.0.0/24 {\nwhoami\n}\n", folder).servers
    assert (first.zones, first.port) == (("a.example", "0.0.10.in-addr.arpa"), 53)
    assert (second.zones, second.port) == (("b.example",), 1053)


DISTRIBUTIONS = {
    "a managed cluster with a folder for its administrators": r"""
        .:53 {
            errors
            ready
            health {
              lameduck 5s
            }
            kubernetes cluster.local in-addr.arpa ip6.arpa {
              pods insecure
              fallthrough in-addr.arpa ip6.arpa
              ttl 30
            }
            prometheus :9153
            forward . 10.0.0.1
            cache 30
            loop
            reload
            loadbalance
            import custom/*.override
            template ANY ANY internal.example.net {
              match "^(?:[^.]+\.){4,}internal\.example\.net\.$"
              rcode NXDOMAIN
              fallthrough
            }
        }
        import custom/*.server
        """,
    "a small distribution with a file of its nodes' names": """
        .:53 {
            errors
            health
            ready
            kubernetes cluster.local in-addr.arpa ip6.arpa {
              pods insecure
              fallthrough in-addr.arpa ip6.arpa
            }
            hosts /etc/node-hosts {
              ttl 60
              reload 15s
              fallthrough
            }
            prometheus 0.0.0.0:9153
            forward . 10.0.0.1
            cache 30 {
                disable success cluster.local
                disable denial cluster.local
            }
            loop
            reload
            loadbalance
            import /no/such/folder/*.override
        }
        """,
    "a large one, with stub domains, a chaos zone and bounds on caching": """
        # stub domains
        corp.example:5353 {
            prometheus 127.0.0.1:9153
            forward . 10.0.0.1 10.0.0.2:5353 {
                policy random
            }
            errors
            log . {
                class error
            }
            bufsize 1232
            cache 900 {
                denial 9984 30
            }
        }
        .:5353 {
            bufsize 1232
            errors
            log . {
                class error
            }
            health {
                lameduck 20s
            }
            ready
            kubernetes cluster.local in-addr.arpa ip6.arpa {
                pods insecure
                fallthrough in-addr.arpa ip6.arpa
            }
            prometheus 127.0.0.1:9153
            forward . tls://9.9.9.9%dns.quad9.net {
                policy sequential
            }
            cache 900 {
                denial 9984 30
            }
            reload
        }
        hostname.bind:5353 {
            chaos
        }
        """,
    "a cache on each node": """
        cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {
            errors
            cache {
                    success 9984 30
                    denial 9984 5
                    prefetch 500 5s
            }
            reload
            loop
            bind 169.254.20.10 10.96.0.10
            forward . 10.96.200.1 {
                    force_tcp
                    expire 10s
            }
            prometheus :9253
            health 169.254.20.10:8080
        }
        .:53 {
            errors
            cache 30
            reload
            loop
            bind 169.254.20.10 10.96.0.10
            forward . 10.0.0.1 {
                    prefer_udp
                    max_concurrent 1000
            }
            prometheus :9253
        }
        """,
}
"""The shapes in which clusters come."""


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_corefiles_as_clusters_have_them_are_understood_and_served(folder, cluster, name):
    found = read(DISTRIBUTIONS[name], folder)
    metrics = Metrics()
    generation = Generation(found, cluster, metrics, domain="cluster.local", hosts=("0.0.0.0",))
    assert generation.responders
    for responder in generation.responders.values():
        query = dns.message.make_query("hostname.bind", "TXT", "CH").to_wire()
        answer = dns.message.from_wire(responder.answer_udp(query, ("10.244.0.9", 4711)))
        assert bool(answer.answer) == ("chaos" in DISTRIBUTIONS[name])
