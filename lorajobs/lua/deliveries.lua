-- ARGV: P limit hold_ms
-- {delivery, job, url, event, tries, …}: due webhooks, held so that no other courier sends them
local out = {}
local t = now()
for _, d in ipairs(redis.call('ZRANGE', P .. ':outbox', 0, t, 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local key = P .. ':delivery:' .. d
  redis.call('ZADD', P .. ':outbox', t + tonumber(ARGV[3]), d)
  local tries = redis.call('HINCRBY', key, 'tries', 1)
  local r = redis.call('HMGET', key, 'job', 'url', 'event')
  out[#out + 1] = { d, r[1], r[2], r[3], tries }
end
return out
