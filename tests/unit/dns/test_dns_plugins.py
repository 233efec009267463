"""The smaller plugins, each through the whole chain: hosts, rewrite, template, log, errors, loadbalance, bufsize."""

import logging
import re

import dns.flags
import dns.rcode
import pytest

from sampan.dns.plugins.base import NoAnswer
from sampan.dns.wire import A, Record, Reply, encode_name

Z = "cluster.local"
WEB = f"web.default.svc.{Z}"


def corefile(*lines):
    return "\n".join(
        (". {", f"kubernetes {Z} in-addr.arpa {{\nfallthrough in-addr.arpa\n}}", *lines, "forward . 192.0.2.53\n}")
    )


def elsewhere(query):
    return Reply(answers=(Record(query.name, A, bytes((192, 0, 2, 7)), 300),), authoritative=False)


# --- hosts

HOSTS = "hosts {}{{\n10.9.9.9 Foo.example bar.example\nfd00::9 foo.example\nttl 60\n{}\n}}"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("foo.example", "A", ["foo.example A 10.9.9.9"]),
        ("foo.example", "AAAA", ["foo.example AAAA fd00::9"]),
        ("bar.example", "AAAA", []),
        ("9.9.9.10.in-addr.arpa", "PTR", [f"9.9.9.10.in-addr.arpa PTR {host}.example." for host in ("foo", "bar")]),
        ("none.example", "A", ["none.example A 192.0.2.7"]),
        (WEB, "A", [f"{WEB} A 10.96.0.5"]),
    ],
)  # fmt: skip
def test_hosts_knows_names_and_addresses_and_lets_the_rest_fall_through(asker, texts, name, kind, expected):
    ask = asker(corefile(HOSTS.format("", "fallthrough")), elsewhere)
    answer = ask(name, kind)
    assert answer.rcode() == dns.rcode.NOERROR
    assert texts(answer.answer) == expected


def test_lines_of_the_corefile_stand_beside_those_of_the_machines_own_file(asker, texts, tmp_path, monkeypatch):
    (tmp_path / "hosts").write_text("10.9.9.8 other.example foo.example\n")
    monkeypatch.setattr("sampan.dns.plugins.hosts._DEFAULT_FILE", str(tmp_path / "hosts"))
    ask = asker(corefile(HOSTS.format("", "fallthrough")), elsewhere)
    assert texts(ask("other.example").answer) == ["other.example A 10.9.9.8"]
    assert texts(ask("foo.example").answer) == ["foo.example A 10.9.9.9", "foo.example A 10.9.9.8"]


def test_hosts_without_fallthrough_ends_the_search(asker):
    assert asker(corefile(HOSTS.format("", "")), elsewhere)("none.example").rcode() == dns.rcode.SERVFAIL


def test_a_hosts_file_is_read_again_when_it_changes(cluster, world, run, tmp_path, texts):
    file = tmp_path / "hosts"
    file.write_text("10.9.9.1 a.example # first\nnonsense\n10.9.9.2\n")

    async def scenario():
        await world.start(before=f"hosts {file} {{\nreload 10ms\nfallthrough\n}}")
        assert texts((await world.ask("a.example")).answer) == ["a.example A 10.9.9.1"]
        file.write_text("10.9.9.222 a.example\n")
        while texts((await world.ask("a.example")).answer) != ["a.example A 10.9.9.222"]:
            pass

    run(scenario)


# --- rewrite

REWRITES = [
    ("rewrite name a.example b.example", "a.example", "b.example"),
    ("rewrite stop name exact a.example b.example", "A.Example", "b.example"),
    ("rewrite name prefix old- new-", "old-x.example", "new-x.example"),
    ("rewrite name suffix .corp.example .example.com answer auto", "x.corp.example", "x.example.com"),
    ("rewrite name substring old new", "an-old-x.example", "an-new-x.example"),
    (r"rewrite name regex (.*)\.old\.example {1}.new.example", "x.old.example", "x.new.example"),
    ("rewrite name regex ^x y", "z.example", "z.example"),
    ("rewrite continue name a.example b.example\nrewrite name b.example c.example", "a.example", "c.example"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "asked", "sent"), REWRITES)
def test_a_rewritten_name_is_asked_for_and_answered_under_the_name_used(asker, texts, lines, asked, sent):
    ask = asker(corefile(lines), elsewhere)
    answer = ask(asked)
    assert ask.outside == [(sent, A)]
    assert texts(answer.answer) == [f"{asked} A 192.0.2.7"]


def test_a_name_can_be_rewritten_to_one_of_the_cluster(asker, texts):
    ask = asker(corefile(f"rewrite name shop.example {WEB}"))
    assert texts(ask("shop.example").answer) == ["shop.example A 10.96.0.5"]


def test_a_rewritten_answer_of_the_cluster_changes_with_it(asker, cluster, make):
    ask = asker(corefile(f"rewrite name shop.example new.default.svc.{Z}"))
    assert ask("shop.example").rcode() == dns.rcode.NXDOMAIN
    cluster.set_service(None, make.service("new", clusterIP="10.96.5.5", clusterIPs=["10.96.5.5"]))
    assert ask("shop.example").answer[0][0].to_text() == "10.96.5.5"


def test_types_and_times_can_be_rewritten(asker):
    ask = asker(corefile("rewrite type AAAA A", "rewrite ttl suffix example 30-60"), elsewhere)
    assert ask("a.example").answer[0].ttl == 60
    ask("a.example", "AAAA")
    assert ask.outside[-1] == ("a.example", A)


# --- template

IP = r"""template IN A example {
match (^|[.])ip-(?P<a>\d+)-(?P<b>\d+)-(?P<c>\d+)-(?P<d>\d+)[.]example[.]$
answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ index .Match 5 }}"
fallthrough
}"""


def test_records_are_made_from_the_question(asker, texts):
    ask = asker(corefile(IP), elsewhere)
    assert texts(ask("x.ip-10-1-2-3.example").answer) == ["x.ip-10-1-2-3.example A 10.1.2.3"]
    assert texts(ask("other.example").answer) == ["other.example A 192.0.2.7"]
    assert ask.metrics.value("coredns_template_matches_total") == 1


def test_a_template_that_makes_no_record_is_a_failure(asker):
    ask = asker(corefile(IP))
    assert ask("ip-10-1-2-999.example").rcode() == dns.rcode.SERVFAIL


def test_names_in_a_templates_records_are_whole_with_or_without_their_last_dot(asker):
    for dot in ("", "."):
        ask = asker(
            corefile(f'template IN MX example {{\nanswer "a.example{dot} 60 IN MX 10 mail.example{dot}"\n}}'), elsewhere
        )
        assert ask("a.example", "MX").answer[0][0].to_text() == "10 mail.example."


def test_a_template_can_deny(asker):
    ask = asker(corefile("template ANY ANY bad.example {\nrcode NXDOMAIN\n}"), elsewhere)
    assert ask("a.bad.example", "TXT").rcode() == dns.rcode.NXDOMAIN
    assert ask("a.good.example").rcode() == dns.rcode.NOERROR


# --- log, errors

LINE = re.compile(
    r'10\.244\.0\.9:4711 - \d+ "A IN web\.default\.svc\.cluster\.local\. udp 47 false 512" '
    r"NOERROR qr,aa,rd,ra 63 0\.\d{9}s"
)


def test_every_query_is_logged_in_corednss_format(asker, caplog):
    caplog.set_level(logging.INFO)
    ask = asker(corefile("log"))
    ask(WEB)
    ask(WEB)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all(LINE.fullmatch(line) for line in lines)


@pytest.mark.parametrize(
    ("classes", "logged"), [("denial", 1), ("success", 1), ("error", 0), ("success denial", 2), ("all", 2)]
)
def test_only_the_classes_wanted_are_logged(asker, caplog, classes, logged):
    caplog.set_level(logging.INFO)
    ask = asker(corefile(f"log {{\nclass {classes}\n}}"))
    ask(WEB)
    ask(f"none.default.svc.{Z}")
    assert len(caplog.records) == logged


def test_a_format_of_ones_own(asker, caplog):
    caplog.set_level(logging.INFO)
    asker(corefile('log . "{remote} {name} {>nothing}"'))(WEB)
    assert [record.getMessage() for record in caplog.records] == [f"10.244.0.9 {WEB}. -"]


def test_errors_that_repeat_are_counted(world, run, caplog):
    async def scenario():
        await world.start(before='errors {\nconsolidate 1h ".*refused.*|.*timeout.*"\n}', attempt=0.01, total=0.01)
        for number in range(3):
            await world.ask(f"{number}.example")

    run(scenario)
    assert [r.getMessage() for r in caplog.records if r.name.endswith("errors")] == [
        "plugin/errors: 3 errors like '.*refused.*|.*timeout.*' occurred in last 3600s"
    ]


def test_a_mistake_in_a_plugin_is_a_failure_for_that_query_alone(asker, caplog):
    def broken(query):
        raise ZeroDivisionError

    ask = asker(corefile(), broken)
    assert ask("example.com").rcode() == dns.rcode.SERVFAIL
    assert ask(WEB).answer
    assert ask.metrics.value("coredns_panics_total") == 1
    assert "answering example.com" in caplog.text


def test_what_nobody_can_answer_is_a_failure(asker):
    def silent(query):
        raise NoAnswer("silence")

    assert asker(corefile(), silent)("example.com").rcode() == dns.rcode.SERVFAIL
    assert asker(f"{Z} {{\nkubernetes\n}}")("example.com").rcode() == dns.rcode.REFUSED


# --- loadbalance, bufsize, server blocks


@pytest.mark.parametrize(("line", "firsts"), [("loadbalance", 2), ("", 1)])
def test_addresses_take_turns_only_if_told_to(asker, line, firsts):
    ask = asker(corefile(line))
    assert len({ask(f"peers.default.svc.{Z}").answer[0][0].to_text() for _ in range(6)}) == firsts


def test_aliases_stay_in_front_of_the_addresses_that_take_turns(asker):
    def two(query):
        name = encode_name("b.example")
        addresses = [Record("b.example", A, bytes((192, 0, 2, number)), 60) for number in (1, 2)]
        return Reply(answers=(Record(query.name, 5, name, 60), *addresses))

    ask = asker(corefile("loadbalance"), two)
    assert {ask("a.example").answer[0].rdtype.name for _ in range(8)} == {"CNAME"}


def test_an_answer_is_no_larger_than_bufsize_says(asker, cluster, make):
    endpoints = [{"addresses": [f"10.244.9.{index}"]} for index in range(1, 101)]
    cluster.set_slice(None, make.endpoint_slice("peers", endpoints, name="many"))
    ask = asker(corefile("bufsize 600"))
    answer = ask(f"peers.default.svc.{Z}", use_edns=0, payload=4096)
    assert answer.flags & dns.flags.TC
    assert len(answer.to_wire()) <= 600


def test_the_block_with_the_longest_zone_answers(asker):
    ask = asker(
        "example {\ntemplate IN A {\nanswer \"{{ .Name }} A 10.1.1.1\"\n}\n}\n"
        "a.example {\ntemplate IN A {\nanswer \"{{ .Name }} A 10.2.2.2\"\n}\n}"
    )  # fmt: skip
    assert ask("x.example").answer[0][0].to_text() == "10.1.1.1"
    assert ask("x.a.example").answer[0][0].to_text() == "10.2.2.2"
    assert ask("xa.example").answer[0][0].to_text() == "10.1.1.1"
    assert ask("example.org").rcode() == dns.rcode.REFUSED


def test_an_alias_leads_to_a_name_of_another_block(asker):
    """ExternalName beside stub domains: the target is looked up in the block that its own name belongs to."""
    ask = asker(
        f"{Z} {{\nkubernetes\n}}\n"
        "example.com {\ntemplate IN A {\nanswer \"{{ .Name }} A 203.0.113.7\"\n}\n}"
    )  # fmt: skip
    answer = ask(f"out.default.svc.{Z}")
    assert answer.rcode() == dns.rcode.NOERROR
    assert [found[0].to_text() for found in answer.answer] == ["example.com.", "203.0.113.7"]


def test_an_owner_that_is_too_long_is_a_failure_and_not_silence(asker):
    """What goes wrong while an answer is encoded is answered SERVFAIL, like what goes wrong before."""

    def broken(query):
        return Reply(answers=(Record("x" * 300, A, bytes(4), 60),))

    assert asker(corefile(""), broken)("a.example").rcode() == dns.rcode.SERVFAIL
