"""`rewrite`: what is asked instead, in which order rules apply, and how answers come back."""

import dns.name
import dns.rcode
import pytest

from sampan.dns import wire
from sampan.dns.wire import CNAME, SRV, A, Record, Reply, encode_name

Z = "cluster.local"
WEB = f"web.default.svc.{Z}"


def corefile(*lines):
    return "\n".join((". {", f"kubernetes {Z}", *lines, "forward . 192.0.2.53\n}"))


def record(name, ttl=300):
    return Record(name, A, bytes((192, 0, 2, 7)), ttl)


def elsewhere(query):
    return Reply(answers=(record(query.name),), authoritative=False)


ORDERS = [
    ("rewrite name a.example b.example\nrewrite name b.example c.example", "b.example"),
    ("rewrite stop name a.example b.example\nrewrite name b.example c.example", "b.example"),
    ("rewrite continue name a.example b.example\nrewrite name b.example c.example", "c.example"),
    ("rewrite continue name a.example b.example\nrewrite continue name b.example c.example", "c.example"),
    ("rewrite type AAAA A\nrewrite name a.example b.example", "b.example"),
    ("rewrite type A AAAA\nrewrite name a.example b.example", "a.example"),
    ("rewrite ttl a.example 5\nrewrite name a.example b.example", "a.example"),
    ("rewrite continue {\nttl exact a.example 5\n}\nrewrite name a.example b.example", "b.example"),
]


@pytest.mark.parametrize(("lines", "sent"), ORDERS)
def test_a_rule_that_stops_is_the_last_and_one_that_continues_is_not(asker, lines, sent):
    ask = asker(corefile(lines), elsewhere)
    answer = ask("a.example")
    assert [name for name, _ in ask.outside] == [sent]
    assert answer.question[0].name.to_text() == "a.example."


ANSWERS = [
    ("name suffix .corp.example .corp.net answer auto", "x.corp.example", "y.corp.net", "y.corp.example"),
    ("name prefix old- new- answer auto", "old-x.example", "new-y.example", "old-y.example"),
    ("name exact a.example b.example answer auto", "a.example", "c.example", "c.example"),
    (r"name regex (.*)\.corp\.example {1}.corp.net answer name (.*)\.corp\.net {1}.corp.example",
     "x.corp.example", "y.corp.net", "y.corp.example"),
    ("name suffix .corp.example .corp.net", "x.corp.example", "y.corp.net", "y.corp.net"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "asked", "owner", "shown"), ANSWERS)
def test_other_names_of_an_answer_are_rewritten_if_so_told(asker, rule, asked, owner, shown):
    def two(query):
        return Reply(answers=(record(query.name), record(owner)), authoritative=False)

    answer = asker(corefile(f"rewrite {rule}"), two)(asked)
    assert [rrset.name.to_text(True) for rrset in answer.answer] == [asked, shown]


@pytest.mark.parametrize(
    "rule",
    [
        "rewrite name suffix .corp.example .corp.net answer auto",
        r"rewrite stop {" "\n" r"name regex (.*)\.corp\.example {1}.corp.net" "\n"
        r"answer value (.*)\.corp\.net {1}.corp.example" "\n}",
    ],
)  # fmt: skip
def test_names_inside_records_are_rewritten_too(asker, texts, rule):
    def inside(query):
        alias = Record(query.name, CNAME, encode_name("y.corp.net"), 60)
        server = Record(query.name, SRV, b"\0\1\0\2\0\3" + encode_name("s.corp.net"), 60)
        return Reply(answers=(alias, server), authoritative=False)

    answer = asker(corefile(rule), inside)("x.corp.example")
    assert texts(answer.answer) == [
        "x.corp.example CNAME y.corp.example.",
        "x.corp.example SRV 1 2 3 s.corp.example.",
    ]


def test_a_regular_expression_without_answer_rule_still_restores_the_name_asked_for(asker):
    answer = asker(corefile(r"rewrite name regex (.*)-(\w+)\.example {1}.{2}.net"), elsewhere)("shop-eu.example")
    assert answer.answer[0].name.to_text(True) == "shop-eu.example"


def test_a_dot_inside_a_label_and_letters_that_are_not_ascii_stay_what_they_are(asker):
    ask = asker(corefile(r"rewrite name regex (.*)\.old\.example {1}.new.example answer auto"), elsewhere)
    odd = dns.name.Name((b"a.b", b"\xc4x", b"Old", b"Example", b""))
    answer = ask(odd)
    assert wire.encode_name(ask.outside[0][0]) == b"\3a.b\2\xc4x\3new\7example\0"
    assert answer.answer[0].name == odd


def test_a_name_that_is_none_is_a_failure(asker):
    ask = asker(corefile("rewrite name regex a(.*) x..{1}"), elsewhere)
    assert ask("abc.example").rcode() == dns.rcode.SERVFAIL
    assert ask.outside == []


@pytest.mark.parametrize(
    ("bounds", "ttl"), [("15", 15), ("30-60", 60), ("400-500", 400), ("-100", 100), ("600-", 600), ("1-1000", 300)]
)
def test_times_to_live_are_set_or_bounded(asker, bounds, ttl):
    ask = asker(corefile(f"rewrite ttl suffix .example {bounds}"), elsewhere)
    assert ask("a.example").answer[0].ttl == ttl
    assert ask("a.other").answer[0].ttl == 300


def test_a_response_code_can_be_changed(asker):
    def failing(query):
        return Reply(2, authoritative=False)

    ask = asker(corefile("rewrite rcode regex (.*)\\.example SERVFAIL NXDOMAIN"), failing)
    assert ask("a.example").rcode() == dns.rcode.NXDOMAIN
    assert ask("a.other").rcode() == dns.rcode.SERVFAIL


def test_where_an_alias_leads_can_be_changed(asker, texts):
    def alias(query):
        if query.name != "www.example":
            return elsewhere(query)
        behind = Record("old.example", A, bytes((192, 0, 2, 1)), 60)
        return Reply(answers=(Record(query.name, CNAME, encode_name("old.example"), 60), behind), authoritative=False)

    ask = asker(corefile("rewrite cname exact old.example new.example"), alias)
    assert texts(ask("www.example").answer) == ["www.example CNAME new.example.", "new.example A 192.0.2.7"]
    assert texts(ask("www.example", "CNAME").answer)[0] == "www.example CNAME new.example."


def test_an_alias_that_is_changed_into_a_circle_ends(asker):
    def alias(query):
        return Reply(answers=(Record(query.name, CNAME, encode_name("b.example"), 60),), authoritative=False)

    ask = asker(corefile("rewrite cname exact b.example a.example"), alias)
    assert len(ask("a.example").answer) == 1
    assert len(ask.outside) < 20


def test_the_class_can_be_changed(asker):
    ask = asker(corefile("rewrite class CH IN"))
    answer = ask(WEB, "A", rdclass="CH")
    assert answer.question[0].rdclass == 3
    assert answer.answer[0][0].to_text() == "10.96.0.5"
    assert asker(corefile())(WEB, "A", rdclass="CH").rcode() == dns.rcode.REFUSED


MISTAKES = [
    ("rewrite name", "expected: rewrite [continue|stop] FIELD FROM TO"),
    ("rewrite name regex (a) {2}.example", "'{2}.example' has more groups than '(a)'"),
    ("rewrite name a b answer nothing", "expected: answer auto, answer name FROM TO or answer value FROM TO"),
    ("rewrite type A WHAT", "'WHAT' is not a type of records"),
    ("rewrite class IN XX", "expected: class FROM TO, of IN, CH, HS, ANY"),
    ("rewrite ttl a.example soon", "a ttl is a number, or a range such as 30-300, 30- or -300"),
    ("rewrite ttl a.example 60-30", "'60-30' is not a range of ttls"),
    ("rewrite rcode a.example NOERROR MAYBE", "'MAYBE' is not a response code"),
    ("rewrite edns0 local change 1 x", "unknown action 'change'; there are set, append, replace, unset"),
    ("rewrite edns0 local set 70000 x", "'70000' is not a number from 0 to 65535"),
    ("rewrite edns0 local set 1 0xzz", "'0xzz' is not hexadecimal"),
    ("rewrite edns0 local set 1 {weather}", "unknown variable '{weather}'; there are {qname}, {qtype}, "),
    ("rewrite edns0 subnet set 33 56", "'33' is not a number from 0 to 32"),
    ("rewrite edns0 cookie set 1", "expected: edns0 local ACTION CODE DATA, "),
    ("rewrite edns0", "expected: rewrite [continue|stop] FIELD FROM TO"),
]


@pytest.mark.parametrize(("line", "problem"), MISTAKES)
def test_a_mistake_is_told(line, problem):
    from sampan.dns import config
    from sampan.dns.lines import CorefileError

    with pytest.raises(CorefileError) as caught:
        config.read(f". {{\n{line}\n}}\n")
    assert str(caught.value).startswith(f"Corefile:2: rewrite: {problem}")
