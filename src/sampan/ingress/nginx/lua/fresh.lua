-- Hosts that are so new that nginx.conf does not have them yet: the server for all other names asks here.
--
-- A reload of many hosts takes a second or more; a new host with plain routes answers meanwhile. The dictionary "fresh"
-- holds by host a list of routes, the one to try first first: path, is_exact, redirect (0 or a status), keeps_slash, and
-- the variables of the location in the order of NAMES.
local cjson = require("cjson.safe")
local state = require("sampan.state")

local M = {}

local NAMES = {"namespace", "ingress_name", "service_name", "service_port", "location_path", "proxy_upstream_name", "backend"}

local lookup = state.reader("fresh", function(text) return cjson.decode(text) end)

local function matches(route, uri)
  local path = route.path
  if uri == path then
    return true
  elseif route.is_exact or uri:sub(1, #path) ~= path then
    return false
  end
  return path:sub(-1) == "/" or uri:sub(#path + 1, #path + 1) == "/"
end

function M.route()
  local var = ngx.var
  local routes = lookup(var.host)
  for _, route in ipairs(routes or {}) do
    if matches(route, var.uri) then
      if route.redirect > 0 and var.is_insecure == "1" then
        local uri = route.keeps_slash and var.request_uri or var.request_uri_without_slash
        return ngx.redirect("https://" .. var.host .. uri, route.redirect)
      end
      for at, name in ipairs(NAMES) do
        var[name] = route.variables[at]
      end
      return
    end
  end
  if var.backend == "" then
    return ngx.exit(404)
  end
end

return M
