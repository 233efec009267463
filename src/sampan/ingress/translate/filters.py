"""One Ingress's annotations as the model's filters: what happens to requests for its paths.

Pure. `features` reads typed values (annotations/parse.py) and the Secrets and ConfigMaps that they name. A reference
that cannot be followed closes the paths: an Ingress that asks for passwords is never served without.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from sampan.api.core_v1 import ConfigMap, Secret
from sampan.ingress import values
from sampan.ingress.annotations.parse import Annotations
from sampan.ingress.model import (
    AccessList,
    BackendProtocol,
    ClientCertificates,
    CookieAffinity,
    Cors,
    ExternalAuth,
    Filters,
    LoadBalancing,
    Mirror,
    Networks,
    Proxying,
    RateLimit,
    Redirect,
    Rewrite,
    Settings,
    Source,
    Text,
    UpstreamTLS,
    UserAuth,
    Variable,
)
from sampan.ingress.settings import value
from sampan.ingress.translate import certificates
from sampan.ingress.translate.types import Key, Problem

T = TypeVar("T")


@dataclass(slots=True)
class Reading:
    """What one Ingress is read with, and what is found out meanwhile."""

    source: Source
    annotations: Annotations
    settings: Settings
    secrets: Mapping[Key, Secret | None]
    config_maps: Mapping[Key, ConfigMap | None]
    prefix: str
    problems: list[Problem] = field(default_factory=list)
    secret_keys: set[Key] = field(default_factory=set)
    config_map_keys: set[Key] = field(default_factory=set)
    denied: str = ""

    def tell(self, reason: str, message: str) -> None:
        self.problems.append(Problem(self.source, reason, message))

    def deny(self, reason: str, message: str) -> None:
        self.tell(reason, f"{message}; the paths of this Ingress answer 503 until it is corrected")
        self.denied = self.denied or message

    def secret(self, annotation: str) -> Secret | None:
        """The Secret that `annotation` names; None (and denied) where it cannot be had."""
        key = self._key(annotation, "Secret")
        if key is None:
            return None
        self.secret_keys.add(key)
        return self._followed(self.secrets, key, annotation, "Secret")

    def config_map(self, annotation: str) -> Mapping[str, str] | None:
        key = self._key(annotation, "ConfigMap")
        if key is None:
            return None
        self.config_map_keys.add(key)
        found = self._followed(self.config_maps, key, annotation, "ConfigMap")
        return None if found is None else found.data

    def _key(self, annotation: str, kind: str) -> Key | None:
        reference = self.annotations.find(annotation, tuple)
        if reference is None:
            return None
        namespace, name = reference[0] or self.source.namespace, reference[1]
        if namespace != self.source.namespace and not value(self.settings, "allow-cross-namespace-resources", bool):
            message = f"{self.prefix}/{annotation}: {kind} {namespace}/{name} is in another namespace, which "
            self.deny("CrossNamespace", message + "allow-cross-namespace-resources does not allow")
            return None
        return namespace, name

    def _followed(self, objects: Mapping[Key, T | None], key: Key, annotation: str, kind: str) -> T | None:
        found = objects.get(key)
        if found is None:
            message = f"{self.prefix}/{annotation}: {kind} {key[0]}/{key[1]} does not exist"
            if key in objects:
                self.deny(f"Missing{kind}", message)
            else:
                self.denied = self.denied or f"{kind} {key[0]}/{key[1]} has not been read yet"
        return found


@dataclass(frozen=True, slots=True)
class Features:
    """Everything that an Ingress's annotations ask for. `rewrite` is apart: it depends on each path."""

    filters: Filters
    proxying: Proxying
    protocol: BackendProtocol
    balancing: LoadBalancing
    service_upstream: bool
    rewrite: Rewrite | None
    upstream_tls: UpstreamTLS | None
    clients: ClientCertificates | None
    error_codes: tuple[int, ...]
    intercept: bool


def features(reading: Reading) -> Features:
    found = reading.annotations
    target = found.find("rewrite-target", str)
    prefix = found.get("x-forwarded-prefix", "")
    upstream_tls, clients, proxying = _upstream_tls(reading), _clients(reading), _proxying(reading)
    filters = _filters(reading)  # last: by now it is known whether the paths are closed
    codes = found.find("custom-http-errors", tuple)
    if codes is None:
        codes = tuple(int(code) for code in value(reading.settings, "custom-http-errors", tuple))
    intercept = not found.flag(
        "disable-proxy-intercept-errors", value(reading.settings, "disable-proxy-intercept-errors", bool)
    )
    return Features(
        filters=filters,
        proxying=proxying,
        protocol=found.get("backend-protocol", BackendProtocol.HTTP),
        balancing=_balancing(reading),
        service_upstream=found.flag("service-upstream", value(reading.settings, "service-upstream", bool)),
        rewrite=Rewrite(target, prefix) if target else None,
        upstream_tls=upstream_tls,
        clients=clients,
        error_codes=codes,
        intercept=intercept,
    )


# --- filters


def _filters(reading: Reading) -> Filters:
    found = reading.annotations
    user_auth, external_auth = _user_auth(reading), _external_auth(reading)
    headers = _response_headers(reading)
    return Filters(
        redirect=_redirect(found),
        https_redirect_keeps_slash=found.flag("preserve-trailing-slash"),
        cors=_cors(found),
        user_auth=user_auth,
        external_auth=external_auth,
        global_auth=found.flag("enable-global-auth", True),
        access=_access(reading),
        rate_limit=_rate_limit(reading),
        mirror=_mirror(found),
        response_headers=headers,
        relative_redirects=found.find("relative-redirects", bool),
        port_in_redirects=found.find("use-port-in-redirects", bool),
        access_log=found.flag("enable-access-log", True),
        rewrite_log=found.flag("enable-rewrite-log"),
        snippet=found.get("configuration-snippet", ""),
        denied=found.denied or reading.denied,
        push_preload=found.flag("http2-push-preload"),
    )


def _redirect(found: Annotations) -> Redirect | None:
    if location := found.find("temporal-redirect", tuple):
        return Redirect(location, found.get("temporal-redirect-code", 302))
    if location := found.find("permanent-redirect", tuple):
        return Redirect(location, found.get("permanent-redirect-code", 301))
    return None


def _cors(found: Annotations) -> Cors | None:
    if not found.flag("enable-cors"):
        return None
    default = Cors()
    return Cors(
        origins=found.get("cors-allow-origin", default.origins) or default.origins,
        methods=found.get("cors-allow-methods", default.methods),
        headers=found.get("cors-allow-headers", default.headers),
        expose=found.get("cors-expose-headers", default.expose),
        credentials=found.flag("cors-allow-credentials", default.credentials),
        max_age=found.get("cors-max-age", default.max_age),
    )


def _user_auth(reading: Reading) -> UserAuth | None:
    found = reading.annotations
    kind: Literal["", "basic", "digest"] = found.get("auth-type", "")
    if not kind:
        return None
    if "auth-secret" not in found.values:
        reading.deny("InvalidAnnotation", f"{reading.prefix}/auth-type needs {reading.prefix}/auth-secret")
        return None
    secret = reading.secret("auth-secret")
    if secret is None:
        return None
    name = f"{secret.metadata.namespace}/{secret.metadata.name}"
    if found.get("auth-secret-type", "auth-file") == "auth-map":
        users = b"".join(user.encode() + b":" + hashed.strip() + b"\n" for user, hashed in sorted(secret.data.items()))
    elif "auth" in secret.data:
        users = secret.data["auth"]
    else:
        reading.deny("InvalidSecret", f"Secret {name} has no key auth")
        return None
    if b"\0" in users:
        reading.deny("InvalidSecret", f"Secret {name} has a NUL in its users")
        return None
    return UserAuth(kind, found.get("auth-realm", ""), users, name)


def _external_auth(reading: Reading) -> ExternalAuth | None:
    found = reading.annotations
    url = found.find("auth-url", tuple)
    if url is None:
        return None
    headers = reading.config_map("auth-proxy-set-headers") or {}
    return ExternalAuth(
        url=url,
        method=found.get("auth-method", ""),
        signin=found.find("auth-signin", tuple),
        signin_redirect_param=found.get("auth-signin-redirect-param", "rd"),
        response_headers=found.get("auth-response-headers", ()),
        request_redirect=found.find("auth-request-redirect", tuple),
        request_headers=_headers(reading, headers, "auth-proxy-set-headers"),
        cache_key=found.find("auth-cache-key", tuple),
        cache_valid=found.get("auth-cache-duration", ("200 202 401 5m",)),
        keepalive=found.get("auth-keepalive", 0),
        keepalive_share_vars=found.flag("auth-keepalive-share-vars"),
        keepalive_requests=found.get("auth-keepalive-requests", 1000),
        keepalive_timeout=found.get("auth-keepalive-timeout", 60),
        always_set_cookie=found.flag("auth-always-set-cookie"),
        snippet=found.get("auth-snippet", ""),
    )


def _headers(reading: Reading, data: Mapping[str, str], annotation: str) -> tuple[tuple[str, str], ...]:
    """Headers of a ConfigMap; a bad one is left out and told."""
    good = []
    for name, text in sorted(data.items()):
        try:
            values.text(text.strip())
            good.append((values.header(name), values.header_value(text)))
        except ValueError as error:
            reading.tell("InvalidConfigMap", f"{reading.prefix}/{annotation}: header {name[:60]!r}: {error}")
    return tuple(good)


def _response_headers(reading: Reading) -> tuple[tuple[str, str], ...]:
    data = reading.config_map("custom-headers")
    if data is None:
        return ()
    allowed = {name.lower() for name in value(reading.settings, "global-allowed-response-headers", tuple)}
    refused = sorted(name for name in data if name.lower() not in allowed)
    if refused:
        message = f"{reading.prefix}/custom-headers: {refused[0][:60]!r} is not among global-allowed-response-headers"
        reading.deny("InvalidConfigMap", message)
        return ()
    return _headers(reading, data, "custom-headers")


def _access(reading: Reading) -> AccessList | None:
    found = reading.annotations
    allow: Networks = found.get("allowlist-source-range", value(reading.settings, "whitelist-source-range", tuple))
    deny: Networks = found.get("denylist-source-range", value(reading.settings, "denylist-source-range", tuple))
    satisfy: Literal["any", "all"] = found.get("satisfy", "all")
    return AccessList(allow, deny, satisfy) if allow or deny or satisfy == "any" else None


def _rate_limit(reading: Reading) -> RateLimit | None:
    found = reading.annotations
    limit = RateLimit(
        connections=found.get("limit-connections", 0),
        per_second=found.get("limit-rps", 0),
        per_minute=found.get("limit-rpm", 0),
        burst_multiplier=found.get("limit-burst-multiplier", 5),
        exempt=found.get("limit-allowlist", ()),
        rate_kib=found.get("limit-rate", value(reading.settings, "limit-rate", int)),
        rate_after_kib=found.get("limit-rate-after", value(reading.settings, "limit-rate-after", int)),
    )
    return limit if limit.connections or limit.per_second or limit.per_minute or limit.rate_kib else None


def _mirror(found: Annotations) -> Mirror | None:
    target = found.find("mirror-target", tuple)
    if target is None:
        return None
    return Mirror(target, found.find("mirror-host", tuple) or host_of(target), found.flag("mirror-request-body", True))


def host_of(url: Text) -> Text:
    """The host in a URL: what is between `//` and the next `/`, without a port."""
    parts: list[str | Variable] = []
    started = False
    for part in url:
        if isinstance(part, Variable):
            if started:
                parts.append(part)
            continue
        if not started:
            if "//" not in part:
                continue
            part, started = part.split("//", 1)[1], True
        end = re.search(r"[/:?#]", part)
        parts.append(part[: end.start()] if end else part)
        if end:
            break
    return tuple(part for part in parts if part != "")


# --- how requests are passed on


def _proxying(reading: Reading) -> Proxying:
    found = reading.annotations
    params = reading.config_map("fastcgi-params-configmap") or {}
    version: Literal["1.0", "1.1"] | None = found.get("proxy-http-version", None)
    number, busy, largest_file = _buffers(reading)
    return Proxying(
        connect_timeout=found.find("proxy-connect-timeout", int),
        send_timeout=found.find("proxy-send-timeout", int),
        read_timeout=found.find("proxy-read-timeout", int),
        next_upstream=found.find("proxy-next-upstream", tuple),
        next_upstream_timeout=found.find("proxy-next-upstream-timeout", int),
        next_upstream_tries=found.find("proxy-next-upstream-tries", int),
        body_size=found.find("proxy-body-size", int),
        body_buffer_size=found.find("client-body-buffer-size", int),
        request_buffering=found.find("proxy-request-buffering", bool),
        buffering=found.find("proxy-buffering", bool),
        buffers_number=number,
        buffer_size=found.find("proxy-buffer-size", int),
        busy_buffers_size=busy,
        max_temp_file_size=largest_file,
        http_version=version,
        cookie_domain=found.find("proxy-cookie-domain", tuple),
        cookie_path=found.find("proxy-cookie-path", tuple),
        redirect=_location_rewrite(reading),
        host=found.find("upstream-vhost", tuple),
        connection=found.find("connection-proxy-header", str),
        fastcgi_index=found.get("fastcgi-index", ""),
        fastcgi_params=_fastcgi_params(reading, params),
    )


def _buffers(reading: Reading) -> tuple[int | None, int | None, int | None]:
    """Number of buffers, size of busy ones, largest file: those that nginx takes together with the buffers' size."""
    found, settings = reading.annotations, reading.settings
    size = found.get("proxy-buffer-size", value(settings, "proxy-buffer-size", int))
    number, busy = found.find("proxy-buffers-number", int), found.find("proxy-busy-buffers-size", int)
    largest = found.find("proxy-max-temp-file-size", int)
    usual = value(settings, "proxy-buffers-number", int)
    if busy is not None and not size <= busy <= ((number or usual) - 1) * size:
        text = "must be at least proxy-buffer-size, and less than all buffers but one; the annotation is ignored"
        reading.tell("InvalidAnnotation", f"{reading.prefix}/proxy-busy-buffers-size: {text}")
        busy = None
    if number is not None and busy is None and number < 3:
        text = "2 buffers need proxy-busy-buffers-size; the annotation is ignored"
        reading.tell("InvalidAnnotation", f"{reading.prefix}/proxy-buffers-number: {text}")
        number = None
    if largest is not None and 0 < largest < size:
        text = "must be 0 or at least proxy-buffer-size; the annotation is ignored"
        reading.tell("InvalidAnnotation", f"{reading.prefix}/proxy-max-temp-file-size: {text}")
        largest = None
    return number, busy, largest


def _location_rewrite(reading: Reading) -> tuple[str, str] | None:
    found = reading.annotations
    start, instead = found.get("proxy-redirect-from", "off"), found.get("proxy-redirect-to", "off")
    if start in ("off", "default"):
        return None  # nginx's default rewrites only what begins with the name of its own upstream block
    if instead == "off":
        message = f"{reading.prefix}/proxy-redirect-from needs {reading.prefix}/proxy-redirect-to"
        reading.tell("InvalidAnnotation", message)
        return None
    return start, instead


def _fastcgi_params(reading: Reading, data: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    good = []
    for name, text in sorted(data.items()):
        try:
            values.matching("A-Za-z0-9_", "letters, digits and _")(name)
            values.text(text)
            good.append((name, values.plain(text)))
        except ValueError as error:
            message = f"{reading.prefix}/fastcgi-params-configmap: {name[:60]!r}: {error}"
            reading.tell("InvalidConfigMap", message)
    return tuple(good)


def _balancing(reading: Reading) -> LoadBalancing:
    found, settings = reading.annotations, reading.settings
    ewma = (found.get("load-balance", "") or value(settings, "load-balance", str)) == "ewma"
    hash_by: Text | None = found.find("upstream-hash-by", tuple) or value(settings, "upstream-hash-by", tuple) or None
    subset = found.get("upstream-hash-by-subset-size", 3) if found.flag("upstream-hash-by-subset") else 0
    return LoadBalancing("ewma" if ewma else "round_robin", hash_by, subset if hash_by else 0, _affinity(found))


def _affinity(found: Annotations) -> CookieAffinity | None:
    if found.get("affinity", "") != "cookie":
        return None
    mode: Literal["balanced", "persistent"] = found.get("affinity-mode", "balanced")
    same_site: Literal["", "None", "Lax", "Strict"] = found.get("session-cookie-samesite", "")
    canary: Literal["sticky", "legacy"] = found.get("affinity-canary-behavior", "sticky")
    return CookieAffinity(
        name=found.get("session-cookie-name", "INGRESSCOOKIE"),
        mode=mode,
        path=found.get("session-cookie-path", ""),
        domain=found.get("session-cookie-domain", ""),
        secure=found.find("session-cookie-secure", bool),
        same_site=same_site,
        conditional_same_site_none=found.flag("session-cookie-conditional-samesite-none"),
        expires=found.find("session-cookie-expires", int),
        max_age=found.find("session-cookie-max-age", int),
        change_on_failure=found.flag("session-cookie-change-on-failure"),
        canary=canary,
    )


# --- certificates of backends and of clients


def _upstream_tls(reading: Reading) -> UpstreamTLS | None:
    """TLS to backends. As in ingress-nginx nothing of it holds without proxy-ssl-secret."""
    found = reading.annotations
    if "proxy-ssl-secret" not in found.values:
        if found.flag("proxy-ssl-verify"):
            message = f"{reading.prefix}/proxy-ssl-verify has no effect without {reading.prefix}/proxy-ssl-secret"
            reading.tell("IgnoredAnnotation", message)
        return None
    secret = reading.secret("proxy-ssl-secret")
    if secret is None:
        return None
    data, name = secret.data, f"{secret.metadata.namespace}/{secret.metadata.name}"
    chain, key, ca = data.get("tls.crt"), data.get("tls.key"), data.get("ca.crt")
    wrong = ""
    if chain is not None or key is not None:
        wrong = certificates.pair_error(chain or b"", key or b"")
    if not wrong and ca is not None:
        wrong = certificates.chain_error(ca, "ca.crt")
    if not wrong and found.flag("proxy-ssl-verify") and ca is None:
        wrong = "proxy-ssl-verify needs ca.crt"
    if wrong:
        reading.deny("InvalidSecret", f"{reading.prefix}/proxy-ssl-secret: Secret {name}: {wrong}")
        return None
    return UpstreamTLS(
        certificate=chain,
        key=key,
        ca=ca,
        verify=found.flag("proxy-ssl-verify"),
        verify_depth=found.get("proxy-ssl-verify-depth", 1),
        name=found.find("proxy-ssl-name", tuple),
        server_name=found.flag("proxy-ssl-server-name"),
        ciphers=found.get("proxy-ssl-ciphers", "DEFAULT"),
        protocols=found.get("proxy-ssl-protocols", ("TLSv1.2",)),
        secret=name,
    )


def _clients(reading: Reading) -> ClientCertificates | None:
    found = reading.annotations
    secret = reading.secret("auth-tls-secret")
    if secret is None:
        return None
    name = f"{secret.metadata.namespace}/{secret.metadata.name}"
    ca, crl = secret.data.get("ca.crt", b""), secret.data.get("ca.crl", b"")
    wrong = certificates.chain_error(ca, "ca.crt") if ca else "it has no ca.crt"
    if not wrong and crl:
        wrong = certificates.crl_error(crl)
    if wrong:
        reading.deny("InvalidSecret", f"{reading.prefix}/auth-tls-secret: Secret {name}: {wrong}")
        return None
    verify: Literal["on", "off", "optional", "optional_no_ca"] = found.get("auth-tls-verify-client", "on")
    return ClientCertificates(
        ca=ca,
        crl=crl,
        verify=verify,
        depth=found.get("auth-tls-verify-depth", 1),
        error_page=found.find("auth-tls-error-page", tuple),
        pass_to_backend=found.flag("auth-tls-pass-certificate-to-upstream"),
        match_cn=found.get("auth-tls-match-cn", ""),
        secret=name,
    )
