-- ARGV: P delivery tries hold_ms
-- 1: held from now on; 0: settled, or given to another courier since
local d, key = ARGV[2], P .. ':delivery:' .. ARGV[2]
local r = redis.call('HMGET', key, 'tries', 'status', 'host')
if r[1] ~= ARGV[3] or r[2] ~= 'pending' then return 0 end
lend(d, r[3], now() + tonumber(ARGV[4]))
return 1
