-- The entry point: `sampan` in nginx.conf.
local M = {
  balancer = require("sampan.balancer"),
  fresh = require("sampan.fresh"),
  digest = require("sampan.digest"),
  certificate = require("sampan.certificate"),
  state = require("sampan.state"),
}

function M.init(private)
  M.balancer.configure({unavailable = "unix:" .. private .. "/unavailable.sock"})
  local file = io.open(private .. "/generation")
  M.name_of_generation = file and file:read("*l") or ""
  if file then
    file:close()
  end
  M.state.load(private .. "/state.json")
end

-- Which nginx.conf this worker has: the controller waits for it after a reload.
function M.generation()
  ngx.say(M.name_of_generation)
end

function M.init_worker()
  math.randomseed(ngx.now() * 1000 + ngx.worker.pid())
end

return M
