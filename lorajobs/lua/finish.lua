-- ARGV: P id attempt status applied_loras outputs warnings metrics error pictures gpu_ms adapter …
-- 1: ended (or a replay of just that); 0: the lease is lost
local id, attempt, status = ARGV[2], ARGV[3], ARGV[4]
if not owns(id, attempt) then
  local r = redis.call('HMGET', job_key(id), 'status', 'attempt')
  return (r[1] == status and r[2] == attempt) and 1 or 0
end
local metrics = cjson.decode(ARGV[8])
redis.call('HSET', job_key(id), 'applied_loras', ARGV[5], 'outputs', ARGV[6], 'warnings', ARGV[7],
  'metrics', ARGV[8])
if status == 'succeeded' then
  -- A mean in which the last few jobs weigh most.
  local r = redis.call('HMGET', job_key(id), 'model', 'started_ms')
  -- Its pictures are stored while the next job runs already.
  local stored = metrics.upload_s
  local key, took = P .. ':service:' .. r[1], now() - tonumber(r[2])
  if type(stored) == 'number' then took = math.max(0, took - 1000 * stored) end
  local mean = tonumber(redis.call('HGET', key, 'ms') or took)
  redis.call('HSET', key, 'ms', math.floor(mean + 0.2 * (took - mean)))
  redis.call('HSET', job_key(id), 'step', redis.call('HGET', job_key(id), 'steps'))
end
local function seconds(value) return type(value) == 'number' and value or 0 end
terminate(id, status, ARGV[9], seconds(metrics.fetch_s) .. ' ' .. seconds(metrics.swap_s))

local r = redis.call('HMGET', job_key(id), 'owner', 'model')
local total = P .. ':usage:' .. r[1]
local today = total .. ':' .. math.floor(now() / 86400000)
local function use(by, name)
  for what, amount in pairs({ jobs = 1, pictures = ARGV[10], gpu_ms = ARGV[11] }) do
    redis.call('HINCRBY', total, by .. ' ' .. what .. ' ' .. name, amount)
    redis.call('HINCRBY', today, by .. ' ' .. what .. ' ' .. name, amount)
  end
end
redis.call('SADD', P .. ':users', r[1])
use('key', '')
use('model', r[2])
sum_up(r[2], 'pictures', ARGV[10])
sum_up(r[2], 'gpu_ms', ARGV[11])
for i = 12, #ARGV do use('adapter', ARGV[i]) end
redis.call('EXPIRE', today, USAGE_DAYS * 86400)
return 1
