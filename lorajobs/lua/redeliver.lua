-- ARGV: P job delivery
-- 1: it is due now; 0: the job has no such delivery
local d, key = ARGV[3], P .. ':delivery:' .. ARGV[3]
local r = redis.call('HMGET', key, 'job', 'host')
if r[1] ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'status', 'pending', 'tries', 0)
redis.call('ZREM', sending_key(r[2]), d)
plan(d, r[2], now())
return 1
