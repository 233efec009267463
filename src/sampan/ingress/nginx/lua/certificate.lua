-- The certificate of a TLS handshake, by the name that the client asks for (RFC 6066). Parsed once per worker.
--
-- Keys of the dictionary "certificates": "host NAME" holds the name of a certificate; "pem NAME" its key and chain.
local ssl = require("ngx.ssl")
local state = require("sampan.state")

local M = {}

local hosts = state.reader("certificates", function(text) return text end)

local parsed = state.reader("certificates", function(pem)
  local chain, err = ssl.parse_pem_cert(pem)
  local key
  if chain then
    key, err = ssl.parse_pem_priv_key(pem)
  end
  if not key then
    ngx.log(ngx.ERR, "certificate: ", err)
    return false
  end
  return {chain = chain, key = key}
end)

local function name_for(host)
  if host then
    host = host:lower()
    local name = hosts("host " .. host)
    if not name then
      local dot = host:find(".", 1, true)
      name = dot and hosts("host *" .. host:sub(dot))
    end
    local pair = name and parsed("pem " .. name)
    if pair then
      return pair
    end
  end
  local default = hosts("host ")
  return default and parsed("pem " .. default)
end

function M.call()
  local pair = name_for(ssl.server_name())
  if not pair then
    return  -- the certificate of the configuration stays
  end
  ssl.clear_certs()
  local done, err = ssl.set_cert(pair.chain)
  if done then
    done, err = ssl.set_priv_key(pair.key)
  end
  if not done then
    ngx.log(ngx.ERR, "certificate: ", err)
    return ngx.exit(ngx.ERROR)
  end
end

return M
