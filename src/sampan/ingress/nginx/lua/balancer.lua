-- Which endpoint a request goes to. `balance` is the only hook on the path of a plain route.
--
-- The dictionary "backends" holds by backend: e (endpoints, [address, port]), a (algorithm), h (hash by: [is variable,
-- text]…), s (size of a subset), k (cookie affinity), c (canaries by "host path").
local balancer = require("ngx.balancer")
local cjson = require("cjson.safe")
local state = require("sampan.state")
local policies = require("sampan.policies")
local canary = require("sampan.canary")

local M = {}

local set_current_peer = balancer.set_current_peer
local set_more_tries = balancer.set_more_tries
local get_last_failure = balancer.get_last_failure
local unavailable  -- a socket that answers 503

function M.configure(options)
  unavailable = options.unavailable
end

local lookup = state.reader("backends", function(text, before)
  local backend = cjson.decode(text)
  if not backend then
    return nil
  end
  local endpoints = backend.e
  backend.count = #endpoints
  backend.turn = before and before.turn or math.random(0, 65535)
  backend.scores = before and before.scores or {}
  backend.plain = not (backend.h or backend.k or backend.c or backend.a == "ewma")
  return backend
end)

M.lookup = lookup

-- The endpoints that this request has tried: "address:port" → true.
local function tried_before()
  local tried = {}
  for address in (ngx.var.upstream_addr or ""):gmatch("[^, ]+") do
    tried[address] = true
  end
  return tried
end

-- The backend of this request: a canary, the one it was sent to, or its fallback. Returns its name, too.
local function chosen(name, backend)
  if backend and backend.c then
    local alternative = canary.choose(backend, lookup)
    if alternative then
      local other = lookup(alternative)
      if other and other.count > 0 then
        ngx.var.proxy_alternative_upstream_name = alternative
        return other, alternative
      end
    end
  end
  if not backend or backend.count == 0 then
    local fallback = ngx.var.fallback_upstream_name
    if fallback and fallback ~= "" then
      return lookup(fallback), fallback
    end
  end
  return backend, name
end

local function pick(backend, tried, affinity)
  if backend.plain and not tried then
    local turn = backend.turn % backend.count + 1
    backend.turn = turn
    return backend.e[turn]
  end
  return policies.pick(backend, tried, affinity)
end

function M.balance()
  local name = ngx.var.backend
  local backend = lookup(name)
  local failed = get_last_failure()
  local affinity
  if not backend or not backend.plain or backend.count == 0 then
    local main, own = backend, name
    -- ngx.ctx costs a table per request: it is used where a try must know what the first one has drawn.
    if failed and ngx.ctx.backend then
      name = ngx.ctx.backend
      backend = lookup(name)
    elseif not backend or backend.c or backend.count == 0 then
      backend, name = chosen(name, backend)
      if main and main.c or name ~= own then
        ngx.ctx.backend = name
      end
    end
    affinity = backend and (backend.k or main and main.k)
  end
  if not backend or backend.count == 0 then
    return set_current_peer(unavailable)
  end
  set_more_tries(1)
  local endpoint = pick(backend, failed and tried_before(), affinity)
  local done, err = set_current_peer(endpoint[1], endpoint[2])
  if not done then
    ngx.log(ngx.ERR, "balancer: ", name, ": ", err)
  end
end

-- For backends that speak anything else than HTTP, to which the answering socket cannot speak.
function M.require_endpoints()
  local name = ngx.var.backend
  local backend = lookup(name)
  if backend and backend.count > 0 then
    return
  end
  backend = lookup(ngx.var.fallback_upstream_name or "")
  if not backend or backend.count == 0 then
    return ngx.exit(503)
  end
end

-- After an answer, where endpoints are picked by their latency.
function M.after()
  local alternative = ngx.var.proxy_alternative_upstream_name
  local backend = lookup(alternative ~= "" and alternative or ngx.var.backend)
  if backend and backend.a == "ewma" then
    policies.observe(backend, ngx.var.upstream_addr, ngx.var.upstream_response_time)
  end
end

return M
