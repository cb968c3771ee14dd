-- ARGV: P overdue_ms minutes
-- {now_ms, delayed, unsettled, due, overdue, {model, waiting, age_ms of the head or -1, running,
-- submitted and ended in the last minutes, what -> n since the store began}, …}
local t = now()
local outbox = P .. ':outbox'
local out = {
  t,
  redis.call('ZCARD', P .. ':delayed'),
  redis.call('ZCARD', outbox),
  redis.call('ZCOUNT', outbox, '-inf', t),
  redis.call('ZCOUNT', outbox, '-inf', t - tonumber(ARGV[2])),
}

-- As many as there are workers.
local running = {}
for _, id in ipairs(redis.call('ZRANGE', P .. ':leases', 0, -1)) do
  local model = redis.call('HGET', job_key(id), 'model')
  if model then running[model] = (running[model] or 0) + 1 end
end

local models = redis.call('SMEMBERS', P .. ':models')
table.sort(models)
for _, model in ipairs(models) do
  local head = redis.call('ZRANGE', waiting_key(model), 0, 0)[1]
  local age = head and math.max(0, t - tonumber(redis.call('HGET', job_key(head), 'created_ms')))
  local waiting = redis.call('ZCARD', waiting_key(model))
  local submitted, ended = 0, 0
  for ago = 0, tonumber(ARGV[3]) - 1 do
    local r = redis.call('HMGET', rate_key(model, ago), 'submitted', 'ended')
    submitted, ended = submitted + (tonumber(r[1]) or 0), ended + (tonumber(r[2]) or 0)
  end
  out[#out + 1] = { model, waiting, age or -1, running[model] or 0, submitted, ended,
    redis.call('HGETALL', P .. ':totals:' .. model) }
end
return out
