-- ARGV: P delivery tries result status retry_ms
-- Logs a try; what it says of the delivery counts unless that was settled before, and a next try
-- only if no other courier makes it already.
local d, key = ARGV[2], P .. ':delivery:' .. ARGV[2]
local r = redis.call('HMGET', key, 'tries', 'status', 'host', 'event', 'job')
if not r[1] then return 0 end
redis.call('RPUSH', P .. ':tries:' .. d, string.format('%d', now()) .. ' ' .. ARGV[4])
redis.call('LTRIM', P .. ':tries:' .. d, -20, -1)
if r[2] ~= 'pending' then return 0 end
if ARGV[5] ~= 'pending' then
  redis.call('HSET', key, 'status', ARGV[5])
  unplan(d, r[3])
  if r[4] == 'job.progress' then
    forget(d, r[5])
  elseif ARGV[5] == 'failed' then
    latest('undelivered', d)
  end
elseif r[1] == ARGV[3] then
  redis.call('ZREM', sending_key(r[3]), d)
  plan(d, r[3], now() + tonumber(ARGV[6]))
end
return 1
