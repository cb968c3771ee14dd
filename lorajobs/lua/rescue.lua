-- ARGV: P lease_ms error limit expired_error
-- {ended, model, model, …}: one entry per job that waits again
local t = now()
local out = { 0 }
local function waits(id) out[#out + 1] = redis.call('HGET', job_key(id), 'model') end

-- Nobody looked for a while: this server was down, loading or stopped, and live workers could not
-- renew either. They get one lease to do so.
local lease_ms = tonumber(ARGV[2])
local looked = tonumber(redis.call('HGET', P .. ':pulse', 'ms') or 0)
if t - looked > lease_ms / 2 then redis.call('HSET', P .. ':pulse', 'patient_ms', t + lease_ms) end
redis.call('HSET', P .. ':pulse', 'ms', t)
if t >= tonumber(redis.call('HGET', P .. ':pulse', 'patient_ms') or 0) then
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
