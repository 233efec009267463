-- Whether a request goes to an alternative backend: by header, by cookie, by weight, in this order.
local M = {}

local find = ngx.re.find

-- true: yes, false: no, nil: this rule does not say.
local function by_rule(rule)
  if rule.header then
    local value = ngx.var["http_" .. rule.header]
    if value then
      if rule.value then
        if value == rule.value then
          return true
        end
      elseif rule.pattern then
        if find(value, rule.pattern, "jo") then
          return true
        end
      elseif value == "always" then
        return true
      elseif value == "never" then
        return false
      end
    end
  end
  if rule.cookie then
    local value = ngx.var["cookie_" .. rule.cookie]
    if value == "always" then
      return true
    elseif value == "never" then
      return false
    end
  end
end

-- The name of the alternative backend, or nil.
function M.choose(backend, lookup)
  local rules = backend.c[ngx.var.server_name .. " " .. ngx.var.location_path]
  if not rules then
    return nil
  end
  local affinity = backend.k
  if affinity and not affinity.legacy then
    local cookie = ngx.var["cookie_" .. affinity.name]
    local mark = cookie and cookie:match("|(%x+)$")
    if mark then
      if mark == affinity.mark then
        return nil
      end
      for _, rule in ipairs(rules) do
        if mark == rule.mark then
          return rule.backend
        end
      end
    end
  end
  for _, rule in ipairs(rules) do
    local verdict = by_rule(rule)
    if verdict then
      return rule.backend
    elseif verdict == false then
      return nil
    end
  end
  local drawn
  for _, rule in ipairs(rules) do
    if rule.weight > 0 then
      drawn = drawn or math.random()
      drawn = drawn - rule.weight / rule.total
      if drawn < 0 then
        return rule.backend
      end
    end
  end
end

return M
