"""The plugins that need a few lines each: acl, any, cancel, chaos, header, local, minimal, nsid, root, whoami."""

import logging
import re
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from sampan.dns import config
from sampan.dns.lines import CorefileError
from sampan.dns.plugins.table import ELSEWHERE, PLUGINS
from sampan.dns.wire import A, Record, Reply
from support.resolvers import Resolver, nothing

Z = "cluster.local"
WEB = f"web.default.svc.{Z}"
NEAR, FAR = ("10.244.0.9", 4711), ("192.0.2.1", 4711)


def corefile(*lines):
    return "\n".join((". {", f"kubernetes {Z}", *lines, "forward . 192.0.2.53\n}"))


def elsewhere(query):
    return Reply(answers=(Record(query.name, A, bytes((192, 0, 2, 7)), 300),), authoritative=False)


# --- acl

RULES = [
    ("allow net 10.244.0.0/16\nblock", NEAR, "A", dns.rcode.NOERROR, 1),
    ("allow net 10.244.0.0/16\nblock", FAR, "A", dns.rcode.REFUSED, 0),
    ("block type AAAA", NEAR, "AAAA", dns.rcode.REFUSED, 0),
    ("block type AAAA", NEAR, "A", dns.rcode.NOERROR, 1),
    ("filter type * net *", NEAR, "A", dns.rcode.NOERROR, 0),
    ("filter net 192.0.2.1 fd00::/8", FAR, "A", dns.rcode.NOERROR, 0),
    ("block type A net 10.0.0.0/8", FAR, "A", dns.rcode.NOERROR, 1),
]


@pytest.mark.parametrize(("rules", "client", "kind", "rcode", "records"), RULES)
def test_the_first_rule_that_fits_decides(asker, rules, client, kind, rcode, records):
    ask = asker(corefile(f"acl {{\n{rules}\n}}"), elsewhere)
    for name in (WEB, "a.example"):
        answer = ask(name, kind, client=client)
        assert (answer.rcode(), len(answer.answer)) == (rcode, records if name == WEB or kind == "A" else 0)


def test_what_one_client_may_hear_is_not_given_to_another(asker):
    ask = asker(corefile("acl {\nallow net 10.244.0.0/16\nblock\n}"))
    packet = dns.message.make_query(WEB, "A").to_wire()
    for client, rcode in ((NEAR, 0), (FAR, 5), (NEAR, 0), (FAR, 5)):
        assert dns.message.from_wire(ask.answer(packet, client=client)).rcode() == rcode
    assert ask.metrics.value("coredns_acl_blocked_requests_total", server="dns://:53", zone=".") == 2
    assert ask.metrics.value("coredns_acl_allowed_requests_total") == 2


def test_what_one_acl_allows_another_does_not_forbid(asker):
    ask = asker(corefile("acl {\nallow net 10.244.0.0/16\n}\nacl {\nblock\n}"))
    assert ask(WEB, client=NEAR).rcode() == dns.rcode.NOERROR
    assert ask(WEB, client=FAR).rcode() == dns.rcode.REFUSED
    assert ask.metrics.value("coredns_acl_allowed_requests_total") == 1


def test_a_query_can_be_dropped_and_other_zones_are_not_concerned(asker):
    ask = asker(corefile("acl a.example {\ndrop\n}"), elsewhere)
    for tcp in (False, True):
        assert ask.answer(dns.message.make_query("x.a.example", "A").to_wire(), tcp) is None
    assert ask("b.example").answer
    assert ask.metrics.value("coredns_acl_dropped_requests_total") == 2


# --- any, chaos, whoami, local


def test_who_asks_for_everything_is_told_the_least(asker, texts):
    ask = asker(corefile("any"))
    assert texts(ask(WEB, "ANY").answer) == [f'{WEB} HINFO "ANY obsoleted" "See RFC 8482"']
    assert texts(ask(WEB).answer) == [f"{WEB} A 10.96.0.5"]


@pytest.mark.parametrize(
    ("name", "expected"), [("version.bind", ["mine"]), ("version.server", ["mine"]), ("authors.bind", ["A", "B"])]
)
def test_the_class_ch_tells_who_this_is(asker, name, expected):
    answer = asker(corefile("chaos mine A B"))(name, "TXT", rdclass="CH")
    assert [rdata.strings[0].decode() for rdata in answer.answer[0]] == expected
    assert answer.answer[0].rdclass == 3


def test_other_names_and_classes_are_refused_as_ever(asker):
    assert asker(corefile("chaos"))("other.bind", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED
    assert asker(corefile("chaos"))(WEB, "A", rdclass="HS").rcode() == dns.rcode.REFUSED


def test_whoami_tells_each_client_its_own_address(asker, texts):
    ask = asker(". {\nwhoami\n}")
    assert texts(ask("x.example", client=NEAR).additional) == [
        "x.example A 10.244.0.9", "_udp.x.example SRV 0 0 4711 ."
    ]  # fmt: skip
    assert texts(ask("x.example", tcp=True, client=("fd00::1", 99)).additional)[0] == "x.example AAAA fd00::1"


LOCAL = [
    ("localhost", "A", 0, ["localhost A 127.0.0.1"]),
    ("localhost", "AAAA", 0, ["localhost AAAA ::1"]),
    ("localhost", "MX", 0, []),
    ("a.localhost", "A", 0, ["a.localhost A 127.0.0.1"]),
    ("localhost.corp.example", "A", 0, ["localhost.corp.example A 127.0.0.1"]),
    ("1.0.0.127.in-addr.arpa", "PTR", 0, ["1.0.0.127.in-addr.arpa PTR localhost."]),
    ("9.0.0.127.in-addr.arpa", "PTR", 3, []),
    ("127.in-addr.arpa", "NS", 0, ["127.in-addr.arpa NS localhost."]),
]


@pytest.mark.parametrize(("name", "kind", "rcode", "expected"), LOCAL)
def test_names_of_the_machine_itself_do_not_leave(asker, texts, name, kind, rcode, expected):
    ask = asker(corefile("local"), elsewhere)
    answer = ask(name, kind)
    assert (answer.rcode(), texts(answer.answer)) == (rcode, expected)
    assert bool(answer.authority) == (not expected)
    assert ask.outside == []
    counted = name not in ("localhost",) and "localhost" in name
    assert ask.metrics.value("coredns_local_localhost_requests_total") == counted


# --- header, minimal, nsid


def test_flags_of_answers_and_of_queries_can_be_set(asker):
    seen = []

    def note(query):
        seen.append(query.flags)
        return elsewhere(query)

    ask = asker(corefile("header {\nset aa\nresponse clear ra\nquery clear rd\nquery set cd\n}"), note)
    answer = ask("a.example")
    assert answer.flags & dns.flags.AA
    assert not answer.flags & dns.flags.RA
    assert answer.flags & dns.flags.RD, "what the client has sent comes back"
    assert (seen[0] & dns.flags.RD, seen[0] & dns.flags.CD) == (0, dns.flags.CD)


def test_the_last_word_on_a_flag_counts(asker):
    answer = asker(corefile("header {\nset ra\nclear ra aa\nset aa\n}"))(WEB)
    assert (answer.flags & dns.flags.RA, bool(answer.flags & dns.flags.AA)) == (0, True)


def test_minimal_answers_have_nothing_besides_but_denials_stay_whole(asker):
    srv = f"_http._tcp.peers.default.svc.{Z}"
    assert asker(corefile())(srv, "SRV").additional
    ask = asker(corefile("minimal"))
    assert not ask(srv, "SRV").additional
    assert ask(srv, "SRV").answer
    assert ask(f"none.default.svc.{Z}").authority


def test_who_asks_for_the_servers_name_is_told_it(asker):
    ask = asker(corefile("nsid pod-7"))
    asking = {"use_edns": 0, "options": [dns.edns.GenericOption(3, b"")]}
    for _ in range(2):
        assert [(option.otype, option.to_wire()) for option in ask(WEB, **asking).options] == [(3, b"pod-7")]
    assert not ask(WEB, use_edns=0).options
    assert not ask(WEB).options


# --- cancel, root, debug, pprof, what is not there


def test_after_a_while_no_resolver_is_asked_any_more(world, run):
    async def scenario():
        await world.start(*(Resolver(nothing) for _ in range(3)), before="cancel 100ms", attempt=5, total=60)
        assert (await world.ask("a.example")).rcode() == dns.rcode.SERVFAIL

    run(scenario)


def test_relative_paths_begin_where_root_says(asker, tmp_path, texts):
    (tmp_path / "names").write_text("10.9.9.9 a.example\n")
    ask = asker(f". {{\nroot {tmp_path}\nhosts names\n}}")
    assert texts(ask("a.example").answer) == ["a.example A 10.9.9.9"]


def test_acls_mistakes_and_others_are_told():
    for text, problem in (
        ("acl {\nforbid\n}", "3: acl: unknown action 'forbid'; there are allow, block, filter, drop"),
        ("acl {\nblock 10.0.0.1\n}", "3: acl: '10.0.0.1' stands behind neither type nor net"),
        ("acl {\nblock net x\n}", "3: acl: 'x' is not a network or an address"),
        ("header {\nset xx\n}", "3: header: unknown flag 'xx' of a response; there are aa, ra, rd, ad, cd"),
        ("header {\nraise aa\n}", "3: header: expected: [response|query] set|clear FLAG…"),
        ("any x", "2: any: takes 0 arguments, not 1"),
        ("cancel 0s", "2: cancel: '0s' is no time to wait"),
        ("root /no/such", "2: root: /no/such: no such folder"),
        ("pprof {\nrate\n}", "3: pprof: unknown option 'rate'; there are block"),
        ("k8s_external a", "2: CoreDNS has a plugin 'k8s_external', this server does not; there are acl, "),
    ):
        with pytest.raises(CorefileError) as caught:
            config.read(f". {{\n{text}\n}}\n")
        assert str(caught.value).startswith(f"Corefile:{problem}")


def test_no_plugin_is_both_here_and_elsewhere():
    assert not ELSEWHERE & set(PLUGINS)


def test_the_documentation_has_every_plugin_in_the_order_of_the_table():
    text = (Path(__file__).parents[3] / "docs/corefile.md").read_text()
    assert re.findall(r"^\| `([a-z]+)` \|", text, re.MULTILINE) == list(PLUGINS)


# --- log, errors, template: the newer options


@pytest.mark.parametrize(("kind", "logged"), [("MX", True), ("A", False)])
def test_an_empty_answer_is_a_denial(asker, caplog, kind, logged):
    caplog.set_level(logging.INFO)
    asker(corefile("log {\nclass denial\n}"))(WEB, kind)
    assert bool(caplog.records) == logged


@pytest.mark.parametrize(("least", "logged"), [("0s", True), ("1h", False)])
def test_slow_answers_are_logged_whatever_their_class(asker, caplog, least, logged):
    caplog.set_level(logging.INFO)
    asker(corefile(f'log . "{{local}} {{name}}" {{\nclass error\nminDuration {least}\n}}'))(WEB)
    assert [record.getMessage() for record in caplog.records] == ([f"0.0.0.0 {WEB}."] if logged else [])


def test_errors_that_repeat_are_told_at_the_level_wanted_and_the_first_at_once(world, run, caplog):
    async def scenario():
        options = 'errors {\nconsolidate 1h "timeout|refused" warning show_first\n}'
        await world.start(before=options, attempt=0.01, total=0.01)
        for number in range(3):
            await world.ask(f"{number}.example")

    run(scenario)
    records = [record for record in caplog.records if record.name.endswith("errors")]
    assert [record.levelname for record in records] == ["WARNING", "WARNING"]
    assert "0.example" in records[0].getMessage()
    assert records[1].getMessage().startswith("plugin/errors: 3 errors like ")


TEMPLATES = [
    ('match "^ip0a(?P<b>[a-f0-9]{2})[.]"\nanswer "{{ .Name }} 60 IN A 10.0.0.{{ parseInt .Group.b 16 8 }}"',
     "ip0aff.t.example", ["ip0aff.t.example A 10.0.0.255"]),
    ('answer "{{ .Name }} {{ .Class }} TXT {{ .Type }}/{{ .Zone }}/{{ .Remote }}/{{ .Question.Qtype }}"',
     "x.t.example", ['x.t.example TXT "A/t.example./10.244.0.9/1"']),
    (r'match (\w+)\.t' "\n" 'answer "{{ .Name }} CNAME {{ index .Match 1 }}.other.example."',
     "a.t.example", ["a.t.example CNAME a.other.example.", "a.other.example A 192.0.2.7"]),
    ('answer "{{ .Name }} CNAME {{ .Name }}"', "a.t.example", ["a.t.example CNAME a.t.example."]),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "name", "expected"), TEMPLATES)
def test_templates_know_fields_and_functions(asker, texts, lines, name, expected):
    ask = asker(corefile(f"template IN A t.example {{\n{lines}\n}}"), elsewhere)
    assert texts(ask(name).answer)[: len(expected)] == expected
    assert ask.metrics.value("coredns_panics_total") == 0
    assert ask.metrics.value("coredns_template_matches_total") < 20


def test_a_template_gives_reasons_and_sections(asker, texts):
    ask = asker(corefile('template ANY ANY bad.example {\nrcode NXDOMAIN\nederror 21 "not here"\n'
                         'authority "bad.example. 60 IN SOA ns.bad.example. a.bad.example. (1 60 60 60 60)"\n'
                         'additional "x.bad.example. 60 IN A 10.1.1.1"\n}'))  # fmt: skip
    answer = ask("a.bad.example", use_edns=0)
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert [(option.otype, option.to_wire()) for option in answer.options] == [(15, b"\0\x15not here")]
    assert texts(answer.authority)[0].startswith("bad.example SOA ns.bad.example.")
    assert texts(answer.additional) == ["x.bad.example A 10.1.1.1"]
    assert not ask("a.bad.example").options
    assert ask("a.bad.example", "TXT", rdclass="CH").rcode() == dns.rcode.NXDOMAIN


FAILING = [
    ('answer "{{ .Nothing }} A 10.1.1.1"', "template_template_failures_total"),
    ('answer "{{ shout .Name }} A 10.1.1.1"', "template_template_failures_total"),
    ('answer "{{ parseInt .Name 10 8 }} A 10.1.1.1"', "template_template_failures_total"),
    ('answer "{{ .Name }} A ten"', "template_rr_failures_total"),
    ('answer ""', "template_rr_failures_total"),
]


@pytest.mark.parametrize(("line", "counter"), FAILING)
def test_a_template_that_fails_is_counted_with_its_text(asker, line, counter):
    ask = asker(corefile(f"template IN A t.example {{\n{line}\n}}"))
    assert ask("a.t.example").rcode() == dns.rcode.SERVFAIL
    assert ask.metrics.value(f"coredns_{counter}", section="answer", type="A", **{"class": "IN"}) == 1
    assert ask.metrics.value("coredns_panics_total") == 0
