-- ARGV: P limit hold_ms per_host ('' for any number)
-- {delivery, job, url, event, tries, …}: due webhooks, held so that no other courier sends them
local out, t = {}, now()
local left, most = tonumber(ARGV[2]), tonumber(ARGV[4]) or math.huge
for _, host in ipairs(redis.call('ZRANGE', P .. ':hosts', 0, t, 'BYSCORE', 'LIMIT', 0, 256)) do
  redis.call('ZREMRANGEBYSCORE', sending_key(host), '-inf', t)
  local free = math.min(most - redis.call('ZCARD', sending_key(host)), left)
  if free > 0 then
    local due = redis.call('ZRANGE', hooks_key(host), 0, t, 'BYSCORE', 'LIMIT', 0, free)
    for _, d in ipairs(due) do
      lend(d, host, t + tonumber(ARGV[3]))
      local tries = redis.call('HINCRBY', P .. ':delivery:' .. d, 'tries', 1)
      local r = redis.call('HMGET', P .. ':delivery:' .. d, 'job', 'url', 'event')
      out[#out + 1] = { d, r[1], r[2], r[3], tries }
    end
    left = left - #due
  elseif left > 0 then
    -- A busy host is looked at again when one of its is settled or given up for lost, so that
    -- however many there are, they do not hide the others.
    local first = redis.call('ZRANGE', sending_key(host), 0, 0, 'WITHSCORES')
    redis.call('ZADD', P .. ':hosts', first[2], host)
  end
  if left == 0 then break end
end
return out
