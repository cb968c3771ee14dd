-- ARGV: P lease_ms error limit expired_error
-- {ended, model, model, …}: one entry per job that waits again
local t = now()
local out = { 0 }
local function waits(id) out[#out + 1] = redis.call('HGET', job_key(id), 'model') end

-- After a restart every lease looks expired; give live workers one lease to renew theirs.
local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
if uptime * 1000 >= tonumber(ARGV[2]) then
  for _, id in ipairs(redis.call('ZRANGE', P .. ':leases', 0, t, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
    if put_back(id, ARGV[3], 0) == 'queued' then waits(id) else out[1] = out[1] + 1 end
  end
end

for _, id in ipairs(redis.call('ZRANGE', P .. ':delayed', 0, t, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  redis.call('ZREM', P .. ':delayed', id)
  enqueue(id)
  waits(id)
end

for _, id in ipairs(redis.call('ZRANGE', P .. ':deadlines', 0, t, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  terminate(id, 'expired', ARGV[5])
  out[1] = out[1] + 1
end
return out
