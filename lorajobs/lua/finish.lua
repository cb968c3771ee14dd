-- ARGV: P id attempt status applied_loras outputs warnings metrics error
-- 1: ended (or a replay of just that); 0: the lease is lost
local id, attempt, status = ARGV[2], ARGV[3], ARGV[4]
if not owns(id, attempt) then
  local r = redis.call('HMGET', job_key(id), 'status', 'attempt')
  return (r[1] == status and r[2] == attempt) and 1 or 0
end
redis.call('HSET', job_key(id), 'applied_loras', ARGV[5], 'outputs', ARGV[6], 'warnings', ARGV[7],
  'metrics', ARGV[8])
if status == 'succeeded' then
  -- A mean in which the last few jobs weigh most.
  local r = redis.call('HMGET', job_key(id), 'model', 'started_ms')
  local key, took = P .. ':service:' .. r[1], now() - tonumber(r[2])
  local mean = tonumber(redis.call('HGET', key, 'ms') or took)
  redis.call('HSET', key, 'ms', math.floor(mean + 0.2 * (took - mean)))
  redis.call('HSET', job_key(id), 'step', redis.call('HGET', job_key(id), 'steps'))
end
terminate(id, status, ARGV[9])
return 1
