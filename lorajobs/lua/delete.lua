-- ARGV: P id
-- 1: erased; 0: no such job; -1: it has not ended
local id = ARGV[2]
local r = redis.call('HMGET', job_key(id), 'status', 'owner')
local status = r[1]
if not status then return 0 end
if status == 'queued' or status == 'running' then return -1 end
redis.call('DEL', job_key(id), P .. ':events:' .. id)
redis.call('ZREM', P .. ':jobs', id)
redis.call('LREM', P .. ':failed', 0, id)
redis.call('ZREM', owned_key(r[2]), id)
redis.call('ZREM', P .. ':kept', id)
for _, d in ipairs(redis.call('ZRANGE', P .. ':deliveries:' .. id, 0, -1)) do
  unplan(d, redis.call('HGET', P .. ':delivery:' .. d, 'host'))
  forget(d, id)
end
return 1
