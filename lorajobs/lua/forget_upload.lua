-- ARGV: P name
-- 1: forgotten; 0: it is awaited anew, or was forgotten already
local ends = redis.call('ZSCORE', P .. ':incoming', ARGV[2])
if not ends or tonumber(ends) > now() then return 0 end
redis.call('ZREM', P .. ':incoming', ARGV[2])
redis.call('HDEL', P .. ':awaited', ARGV[2])
return 1
