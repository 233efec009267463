-- How one of a backend's endpoints is picked, beyond taking turns: by hash, by cookie, by latency; and after a failure.
local M = {}

local crc32 = ngx.crc32_long
local DECAY = 10  -- seconds in which an old latency loses most of its weight
local STALE_BROWSERS = {"iPhone; CPU iPhone OS 12", "iPad; CPU OS 12", "OS X 10_14.*Safari", "Chrome/5[0-9]", "Chrome/6[0-6]"}

local function address(endpoint)
  return endpoint[1] .. ":" .. endpoint[2]
end

-- Points on a ring of 32 bits, as in ketama: an endpoint that comes or goes moves only its own share of the keys.
local function ring(backend)
  if backend.ring then
    return backend.ring
  end
  local points, owner = {}, {}
  local each = math.max(16, math.min(160, math.floor(40000 / backend.count)))
  for at, endpoint in ipairs(backend.e) do
    local text = address(endpoint)
    for i = 1, each do
      local point = crc32(text .. "-" .. i)
      if not owner[point] then
        points[#points + 1] = point
        owner[point] = at
      end
    end
  end
  table.sort(points)
  backend.ring = {points = points, owner = owner}
  return backend.ring
end

local function usable(backend, at, tried)
  return not tried or not tried[address(backend.e[at])]
end

-- The endpoint that owns a key, or the next one on the ring that was not tried.
local function by_key(backend, key, tried)
  local points, owner = ring(backend).points, ring(backend).owner
  local hash = crc32(key)
  local low, high = 1, #points
  while low < high do
    local middle = math.floor((low + high) / 2)
    if points[middle] < hash then
      low = middle + 1
    else
      high = middle
    end
  end
  if points[low] < hash then
    low = 1
  end
  for step = 0, #points - 1 do
    local at = owner[points[(low + step - 1) % #points + 1]]
    if usable(backend, at, tried) then
      return at
    end
  end
  return owner[points[low]]
end

local function in_turn(backend, tried)
  for _ = 1, backend.count do
    backend.turn = backend.turn % backend.count + 1
    if usable(backend, backend.turn, tried) then
      return backend.turn
    end
  end
  return backend.turn
end

local function hash_key(backend)
  local parts = {}
  for i, part in ipairs(backend.h) do
    parts[i] = part[1] and (ngx.var[part[2]] or "") or part[2]
  end
  return table.concat(parts)
end

-- Subsets are runs of endpoints; the key picks one, chance picks within.
local function by_subset(backend, key, tried)
  local size = math.min(backend.s, backend.count)
  local subsets = math.ceil(backend.count / size)
  local first = (crc32(key) % subsets) * size
  local start = math.random(0, size - 1)
  for step = 0, size - 1 do
    local at = (first + (start + step) % size) % backend.count + 1
    if usable(backend, at, tried) then
      return at
    end
  end
  return in_turn(backend, tried)
end

local function score(backend, at)
  local entry = backend.scores[address(backend.e[at])]
  if not entry then
    return 0
  end
  return entry[1] * math.exp(-(ngx.now() - entry[2]) / DECAY)
end

-- The better of two at random, by a moving average of their latency.
local function by_latency(backend, tried)
  local one = math.random(1, backend.count)
  local other = math.random(1, backend.count - 1)
  if other >= one then
    other = other + 1
  end
  if not usable(backend, one, tried) then
    return usable(backend, other, tried) and other or in_turn(backend, tried)
  elseif not usable(backend, other, tried) then
    return one
  end
  return score(backend, one) <= score(backend, other) and one or other
end

function M.observe(backend, addresses, times)
  local last = addresses and addresses:match("[^, ]+$")
  local seconds = times and tonumber(times:match("[%d.]+$"))
  if not last or not seconds then
    return
  end
  local now = ngx.now()
  local entry = backend.scores[last]
  if entry then
    local weight = math.exp(-(now - entry[2]) / DECAY)
    entry[1], entry[2] = entry[1] * weight + seconds * (1 - weight), now
  else
    backend.scores[last] = {seconds, now}
  end
end

local function same_site(affinity)
  local value = affinity.same_site
  if value == "None" and affinity.conditional then
    local agent = ngx.var.http_user_agent or ""
    for _, pattern in ipairs(STALE_BROWSERS) do
      if agent:find(pattern) then
        return nil
      end
    end
  end
  return value
end

local function set_cookie(affinity, key, mark)
  local parts = {affinity.name .. "=" .. key .. "|" .. mark}
  if affinity.expires then
    parts[#parts + 1] = "Expires=" .. ngx.cookie_time(ngx.time() + affinity.expires)
  end
  if affinity.max_age then
    parts[#parts + 1] = "Max-Age=" .. affinity.max_age
  end
  if affinity.domain then
    parts[#parts + 1] = "Domain=" .. affinity.domain
  end
  parts[#parts + 1] = "Path=" .. (affinity.path or ngx.var.location_path or "/")
  local secure = affinity.secure
  if secure == nil then
    secure = ngx.var.https == "on"
  end
  if secure then
    parts[#parts + 1] = "Secure"
  end
  parts[#parts + 1] = "HttpOnly"
  local site = same_site(affinity)
  if site then
    parts[#parts + 1] = "SameSite=" .. site
  end
  local cookie = table.concat(parts, "; ")
  local before = ngx.header["Set-Cookie"]
  if type(before) == "string" then
    before = {before}
  end
  local cookies = {}
  for _, text in ipairs(before or {}) do
    if text:sub(1, #affinity.name + 1) ~= affinity.name .. "=" then
      cookies[#cookies + 1] = text
    end
  end
  cookies[#cookies + 1] = cookie
  ngx.header["Set-Cookie"] = cookies
end

local function new_key()
  return string.format("%.3f.%d.%d", ngx.now(), ngx.worker.pid(), math.random(0, 999999))
end

-- balanced: the cookie is a key on the ring. persistent: it is the endpoint's own mark, which lives as long as it does.
local function by_cookie(backend, affinity, tried)
  local cookie = ngx.var["cookie_" .. affinity.name]
  local key = cookie and cookie:match("^([%x.]+)|%x+$")
  local mark = backend.mark
  if cookie and cookie:match("|(%x+)$") ~= mark then
    key = nil
  end
  if affinity.persistent then
    for at, endpoint in ipairs(backend.e) do
      if key == ngx.md5(address(endpoint)) then
        if usable(backend, at, tried) then
          return at
        end
        local other = in_turn(backend, tried)
        if affinity.change_on_failure then
          set_cookie(affinity, ngx.md5(address(backend.e[other])), mark)
        end
        return other
      end
    end
    local at = in_turn(backend, tried)
    set_cookie(affinity, ngx.md5(address(backend.e[at])), mark)
    return at
  end
  if key and not (tried and affinity.change_on_failure) then
    return by_key(backend, key, tried)
  end
  local at
  for _ = 1, 32 do  -- a new key whose endpoint was not tried
    key = new_key()
    at = by_key(backend, key, nil)
    if usable(backend, at, tried) then
      break
    end
  end
  set_cookie(affinity, key, mark)
  return at
end

-- An endpoint; after a failure one that was not tried, as long as there is one.
function M.pick(backend, tried, affinity)
  local at
  if backend.count == 1 and not affinity then
    at = 1
  elseif affinity then
    at = by_cookie(backend, affinity, tried)
  elseif backend.h then
    local key = hash_key(backend)
    at = backend.s and by_subset(backend, key, tried) or by_key(backend, key, tried)
  elseif backend.a == "ewma" then
    at = by_latency(backend, tried)
  else
    at = in_turn(backend, tried)
  end
  return backend.e[at]
end

return M
