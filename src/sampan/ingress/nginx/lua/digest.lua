-- HTTP Digest authentication (RFC 7616, MD5 with qop=auth), which nginx has no module for.
--
-- Users are lines `user:realm:MD5(user:realm:password)`, as htdigest writes them. A nonce is a time with a seal; it is
-- good for five minutes, and each of its counts once.
local M = {}

local LIFETIME = 300
local tables = {}  -- by path; a path is made from its content

local function secret()
  local dict = ngx.shared.digests
  local text = dict:get("secret")
  if not text then
    local file = io.open("/dev/urandom", "rb")
    text = ngx.encode_base64(file:read(32))
    file:close()
    if not dict:add("secret", text) then
      text = dict:get("secret")
    end
  end
  return text
end

local function users_of(path)
  local users = tables[path]
  if not users then
    users = {}
    for line in io.lines(path) do
      local user, realm, hash = line:match("^([^:]+):([^:]*):(%x+)%s*$")
      if user then
        users[user .. ":" .. realm] = hash:lower()
      end
    end
    tables[path] = users
  end
  return users
end

local function seal(time, salt)
  return ngx.md5(time .. salt .. secret())
end

local function new_nonce()
  local time, salt = string.format("%08x", ngx.time()), string.format("%08x", math.random(0, 2 ^ 31 - 1))
  return time .. salt .. seal(time, salt)
end

-- Whether we have made this nonce, and whether it is still good.
local function known_nonce(nonce)
  local time, salt, mark = nonce:match("^(%x%x%x%x%x%x%x%x)(%x%x%x%x%x%x%x%x)(%x+)$")
  if not time or mark ~= seal(time, salt) then
    return false, false
  end
  return true, ngx.time() - tonumber(time, 16) <= LIFETIME
end

local function fields_of(header)
  local fields = {}
  local rest = header:match("^[Dd]igest%s+(.*)$")
  if not rest then
    return fields
  end
  -- A backslash takes the next character as it is: such pairs become one byte and a number meanwhile.
  rest = rest:gsub("\1", ""):gsub("\\(.)", function(char) return string.format("\1%03d", char:byte()) end)
  for name, text in rest:gmatch('(%w+)%s*=%s*"([^"]*)"') do
    fields[name:lower()] = text:gsub("\1(%d%d%d)", function(number) return string.char(tonumber(number)) end)
  end
  for name, text in rest:gmatch('(%w+)%s*=%s*([^",%s]+)') do
    fields[name:lower()] = fields[name:lower()] or text
  end
  return fields
end

local function refuse(realm, stale)
  ngx.header["WWW-Authenticate"] = string.format('Digest algorithm=MD5, qop="auth", realm="%s", nonce="%s"%s',
    realm:gsub('[\\"]', "\\%0"), new_nonce(), stale and ", stale=true" or "")
  return ngx.exit(401)
end

function M.check()
  local realm = ngx.var.digest_realm
  local f = fields_of(ngx.var.http_authorization or "")
  if not (f.username and f.nonce and f.response and f.uri and f.nc and f.cnonce and f.qop == "auth") then
    return refuse(realm)
  end
  local ours, fresh = known_nonce(f.nonce)
  local hash = users_of(ngx.var.digest_users)[f.username .. ":" .. realm]
  if not ours or not hash or f.realm ~= realm or f.uri ~= ngx.var.request_uri then
    return refuse(realm)
  end
  local request = ngx.md5(ngx.req.get_method() .. ":" .. f.uri)
  if f.response:lower() ~= ngx.md5(table.concat({hash, f.nonce, f.nc, f.cnonce, f.qop, request}, ":")) then
    return refuse(realm)
  end
  if not fresh or not ngx.shared.digests:add(f.nonce .. f.nc, true, LIFETIME) then
    return refuse(realm, true)
  end
end

return M
