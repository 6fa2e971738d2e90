-- Calls Counter.increment on a thousand objects in turn.
local key = 0

wrk.method = "POST"
wrk.body = '{"by":1}'

function request()
  key = (key + 1) % 1000
  return wrk.format(nil, "/objects/Counter/c" .. key .. "/call/increment")
end
