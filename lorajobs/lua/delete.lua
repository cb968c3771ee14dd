-- ARGV: P id
-- 1: erased; 0: no such job; -1: it has not ended
local id = ARGV[2]
local r = redis.call('HMGET', job_key(id), 'status', 'owner')
local status = r[1]
if not status then return 0 end
if status == 'queued' or status == 'running' then return -1 end
redis.call('DEL', job_key(id), P .. ':events:' .. id, P .. ':delivery:' .. id .. '.' .. status)
redis.call('ZREM', P .. ':jobs', id)
redis.call('ZREM', owned_key(r[2]), id)
redis.call('ZREM', P .. ':kept', id)
redis.call('ZREM', P .. ':outbox', id .. '.' .. status)
return 1
