-- What the controller has pushed, as each worker sees it: text in shared memory, decoded once per worker and change.
--
-- Every key holds one JSON text or PEM. A push ends by counting up the key "version"; a worker that sees the same version
-- as before trusts what it has decoded. Otherwise it reads the one key again that a request needs, and decodes it when
-- its text has changed.
local cjson = require("cjson.safe")

local M = {}

-- A reader of one shared dictionary. decode(text, before) makes the value of a key; `before` is the value it replaces.
function M.reader(dictionary, decode)
  local dict = ngx.shared[dictionary]
  local known, count = {}, 0
  return function(key)
    local version = dict:get("version")
    local entry = known[key]
    if entry and entry.version == version then
      return entry.value
    end
    local text = dict:get("=" .. key)
    if not text then
      if entry then
        known[key], count = nil, count - 1
      end
      return nil
    end
    if not entry then
      if count > 20000 then  -- keys that are gone pile up until then
        known, count = {}, 0
      end
      entry = {}
      known[key], count = entry, count + 1
    end
    if entry.text ~= text then
      entry.text, entry.value = text, decode(text, entry.value)
    end
    entry.version = version
    return entry.value
  end
end

-- Takes {dictionary: {set: {key: text}, delete: [key], replace: bool}}. Returns what went wrong.
function M.apply(text)
  local changes, err = cjson.decode(text)
  if not changes then
    return "not JSON: " .. err
  end
  local problem
  for name, change in pairs(changes) do
    local dict = ngx.shared[name]
    for key, value in pairs(change.set or {}) do
      local done, why = dict:safe_set("=" .. key, value)
      if not done then
        problem = name .. " " .. key .. ": " .. why
      end
    end
    for _, key in ipairs(change.delete or {}) do
      dict:delete("=" .. key)
    end
    if change.replace then
      for _, key in ipairs(dict:get_keys(0)) do
        if key ~= "version" and not change.set[key:sub(2)] then
          dict:delete(key)
        end
      end
    end
    dict:incr("version", 1, 0)
  end
  return problem
end

-- At the start of nginx the first state is in a file, so that no request comes before it.
function M.load(path)
  if ngx.shared.backends:get("version") then
    return
  end
  local file = io.open(path, "rb")
  if file then
    local problem = M.apply(file:read("*a"))
    file:close()
    if problem then
      ngx.log(ngx.ERR, "state: ", problem)
    end
  end
end

-- The handler of the control socket.
function M.serve()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if not body then
    local path = ngx.req.get_body_file()
    local file = path and io.open(path, "rb")
    if file then
      body = file:read("*a")
      file:close()
    end
  end
  local problem = M.apply(body or "")
  if problem then
    ngx.status = 507
    ngx.say(problem)
  end
end

return M
