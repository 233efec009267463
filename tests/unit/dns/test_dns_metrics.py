"""The metrics: CoreDNS's names, labels and buckets, and figures that agree with what was asked."""

import re
import time

import dns.message
import msgspec
import pytest

from sampan.dns.metrics import SECONDS, Metrics
from sampan.dns.objects import EndpointSlice
from sampan.dns.programming import Programming
from sampan.dns.timing import Batches
from sampan.dns.wire import A, Record, Reply
from sampan.http.metrics import Histogram

Z = "cluster.local"
WEB = f"web.default.svc.{Z}"
LABELS = {
    "coredns_build_info": "goversion revision version",
    "coredns_cache_drops_total": "server view zones",
    "coredns_cache_entries": "server type view zones",
    "coredns_cache_evictions_total": "server type view zones",
    "coredns_cache_hits_total": "server type view zones",
    "coredns_cache_misses_total": "server view zones",
    "coredns_cache_prefetch_total": "server view zones",
    "coredns_cache_requests_total": "server view zones",
    "coredns_cache_served_stale_total": "server view zones",
    "coredns_dns_do_requests_total": "server view zone",
    "coredns_dns_request_duration_seconds": "server view zone",
    "coredns_dns_request_size_bytes": "proto server view zone",
    "coredns_dns_requests_total": "family proto server type view zone",
    "coredns_dns_response_size_bytes": "proto server view zone",
    "coredns_dns_responses_total": "plugin rcode server view zone",
    "coredns_forward_healthcheck_broken_total": "",
    "coredns_forward_max_concurrent_rejects_total": "",
    "coredns_health_request_duration_seconds": "",
    "coredns_health_request_failures_total": "",
    "coredns_hosts_entries": "",
    "coredns_hosts_reload_timestamp_seconds": "",
    "coredns_kubernetes_dns_programming_duration_seconds": "service_kind",
    "coredns_kubernetes_rest_client_request_duration_seconds": "host verb",
    "coredns_kubernetes_rest_client_requests_total": "code host method",
    "coredns_local_localhost_requests_total": "",
    "coredns_panics_total": "",
    "coredns_plugin_enabled": "name server view zone",
    "coredns_proxy_conn_cache_hits_total": "proto proxy_name to",
    "coredns_proxy_conn_cache_misses_total": "proto proxy_name to",
    "coredns_proxy_healthcheck_failures_total": "proxy_name to",
    "coredns_proxy_request_duration_seconds": "proxy_name rcode to",
    "coredns_reload_failed_total": "",
    "coredns_reload_version_info": "hash value",
    "coredns_template_matches_total": "class server type view zone",
    "coredns_template_rr_failures_total": "class section server template type view zone",
    "coredns_template_template_failures_total": "class section server template type view zone",
    "process_open_fds": "",
    "process_start_time_seconds": "",
}


@pytest.mark.parametrize("name", LABELS)
def test_a_family_has_corednss_labels(name):
    assert " ".join(sorted(Metrics().registry.named(name)._labels)) == LABELS[name]


def test_the_buckets_are_corednss():
    text = Metrics()
    text.seconds.observe(0.1, "s", "z", "")
    text.asked_bytes.observe(70, "s", "z", "", "udp")
    shown = text.render().decode()
    bounds = re.findall(r'request_duration_seconds_bucket\{server="s",view="",zone="z",le="([^"]+)"', shown)
    assert bounds[0] == "0.00025"
    assert bounds[-2:] == ["8.192", "+Inf"]
    sizes = re.findall(r'request_size_bytes_bucket\{[^}]*le="([^"]+)"', shown)
    assert sizes == ["0", "100", "200", "300", "400", "511", "1023", "2047", "4095", "8291", "16000", "32000", "48000",
                     "64000", "+Inf"]  # fmt: skip


def corefile(*lines):
    return "\n".join((". {", f"kubernetes {Z} in-addr.arpa", *lines, "forward . 192.0.2.53\n}"))


def elsewhere(query):
    return Reply(answers=(Record(query.name, A, bytes((192, 0, 2, 7)), 300),), authoritative=False)


def test_a_request_is_counted_once_whoever_answers_and_the_plugin_is_named(asker):
    hosts = "hosts {\n10.9.9.9 a.example\nfallthrough\n}"
    ask = asker(corefile("cache", hosts, "template IN A t.example {\nrcode NXDOMAIN\n}"), elsewhere)
    for name in (WEB, WEB, WEB, "a.example", "a.example", "t.example", "b.example", "b.example", f"none.{Z}"):
        ask(name)
    for _ in range(2):
        ask.generation.settle()
    expected = {"kubernetes": 4, "hosts": 2, "template": 1, "forward": 1, "cache": 1}
    for plugin, count in expected.items():
        assert ask.metrics.value("coredns_dns_responses_total", plugin=plugin, zone=".") == count
    assert ask.metrics.value("coredns_dns_responses_total", rcode="NXDOMAIN") == 2
    for name in ("requests_total", "request_size_bytes", "response_size_bytes"):
        assert ask.metrics.value(f"coredns_dns_{name}", zone=".", proto="udp") == 9
    assert ask.metrics.value("coredns_dns_requests_total", type="A", family="1") == 9


def test_sizes_are_those_of_the_packets(asker):
    ask = asker(corefile())
    query = dns.message.make_query(WEB, "A")
    for _ in range(3):
        answer = ask.answer(query.to_wire())
    ask.generation.settle()
    shown = ask.metrics.render().decode()
    assert (
        f'request_size_bytes_sum{{proto="udp",server="dns://:53",view="",zone="."}} {3 * len(query.to_wire())}' in shown
    )
    assert f'response_size_bytes_sum{{proto="udp",server="dns://:53",view="",zone="."}} {3 * len(answer)}' in shown


def test_queries_for_signatures_are_counted_and_odd_types_are_other(asker):
    ask = asker(corefile())
    for _ in range(2):
        ask(WEB, "A", use_edns=0, want_dnssec=True)
    ask(WEB, "NAPTR")
    ask.generation.settle()
    assert ask.metrics.value("coredns_dns_do_requests_total") == 2
    assert ask.metrics.value("coredns_dns_requests_total", type="other") == 1


def test_what_enters_no_chain_is_dropped(asker):
    ask = asker(f"{Z} {{\nkubernetes\n}}")
    ask("example.com")
    ask.answer(b"\0\1\1\0\0\2" + bytes(20))
    assert ask.metrics.value("coredns_dns_responses_total", zone="dropped", rcode="REFUSED", plugin="") == 1
    assert ask.metrics.value("coredns_dns_responses_total", zone="dropped", rcode="FORMERR", plugin="") == 1


def test_every_answer_over_sockets_has_a_duration(world, run):
    async def scenario():
        await world.start()
        for _ in range(5):
            await world.ask(WEB)
        await world.ask(WEB, tcp=True)
        world.generation.settle()
        assert world.metrics.value("coredns_dns_request_duration_seconds", zone=".") == 6

    run(scenario)


def test_the_time_of_a_batch_is_shared_out_by_zone():
    batches, histogram = Batches(), Histogram("x", "", ("server", "zone", "view"), SECONDS)
    batches.add(0.001, 10)
    batches.add(3.0, 2)
    batches.settle({"a.": 9, "b.": 3}, histogram, "s")
    assert histogram.total(zone="a.") == 9
    assert histogram.total(zone="b.") == 3
    sums = [float(line.rpartition(" ")[2]) for line in histogram.lines() if "_sum" in line]
    assert sum(sums) == pytest.approx(3.001)
    batches.settle({"a.": 1}, histogram, "s")
    assert histogram.total() == 12
    batches.add(0.001, 2)
    batches.settle({"b.": 1}, histogram, "s")
    assert (histogram.total(zone="a."), histogram.total(zone="b.")) == (10, 4)


def test_plugins_are_enabled_in_each_zone(asker):
    ask = asker("a.example b.example {\nerrors\nwhoami\nreload\n}")
    assert ask.metrics.value("coredns_plugin_enabled") == 4, "errors and whoami in two zones"
    for zone in ("a.example.", "b.example."):
        assert ask.metrics.value("coredns_plugin_enabled", zone=zone, name="whoami", server="dns://:53") == 1


def slice_of(service, triggered, address="10.244.0.1"):
    metadata = {
        "name": f"{service}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": service},
        "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": triggered},
    }  # fmt: skip
    return msgspec.convert({"metadata": metadata, "endpoints": [{"addresses": [address]}]}, EndpointSlice)


def test_the_time_from_change_to_name_is_measured_for_headless_services(cluster):
    metrics = Metrics()
    programming = Programming(cluster, metrics)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 3)) + ".123456789Z"
    first = slice_of("peers", stamp)
    programming.handle(None, first)
    name = "coredns_kubernetes_dns_programming_duration_seconds"
    assert metrics.value(name) == 0, "what is in the first list changed long ago"
    programming.active = True
    programming.handle(None, first)
    programming.handle(first, first)
    programming.handle(None, slice_of("web", stamp))
    programming.handle(None, slice_of("peers", "nonsense"))
    programming.handle(first, None)
    assert metrics.value(name, service_kind="headless_with_selector") == 1
    total = re.search(rf'{name}_sum{{service_kind="headless_with_selector"}} (\S+)', metrics.render().decode())
    assert 1.5 < float(total[1]) < 60
