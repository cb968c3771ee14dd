-- ARGV: P id window_us
-- nil unless the job waits; {jobs before it, jobs that may run before it, 1 if it backs off,
-- mean service in ms or 0}
local id = ARGV[2]
local r = redis.call('HMGET', job_key(id), 'status', 'model', 'score_us')
if r[1] ~= 'queued' then return false end
local key = waiting_key(r[2])
local service = redis.call('HGET', P .. ':service:' .. r[2], 'ms') or 0
local rank = redis.call('ZRANK', key, id)
if not rank then
  local all = redis.call('ZCARD', key)
  return { all, all, 1, service }
end
local ahead = redis.call('ZCOUNT', key, '-inf', tonumber(r[3]) + tonumber(ARGV[3])) - 1
return { rank, ahead, 0, service }
