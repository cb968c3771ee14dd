-- ARGV: P lease_ms error limit expired_error
-- {status, id, model, request id, …}: four for each job that was moved, `due` of one that was delayed
local t = now()
local out = {}
local function moved(status, id)
  local r = redis.call('HMGET', job_key(id), 'model', 'spec')
  local known, spec = pcall(cjson.decode, r[2] or '')
  local asked = known and type(spec) == 'table' and spec.request_id
  for _, value in ipairs({ status, id, r[1] or '', asked or '' }) do out[#out + 1] = value end
end

-- Nobody looked for a while: this server was down, loading or stopped, and live workers could not
-- renew either. They get one lease to do so.
local lease_ms = tonumber(ARGV[2])
local looked = tonumber(redis.call('HGET', P .. ':pulse', 'ms') or 0)
if t - looked > lease_ms / 2 then redis.call('HSET', P .. ':pulse', 'patient_ms', t + lease_ms) end
redis.call('HSET', P .. ':pulse', 'ms', t)
if t >= tonumber(redis.call('HGET', P .. ':pulse', 'patient_ms') or 0) then
  for _, id in ipairs(redis.call('ZRANGE', P .. ':leases', 0, t, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
    sum_up(redis.call('HGET', job_key(id), 'model'), 'lost', 1)
    moved(put_back(id, ARGV[3], 0), id)
  end
end

for _, id in ipairs(redis.call('ZRANGE', P .. ':delayed', 0, t, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  redis.call('ZREM', P .. ':delayed', id)
  enqueue(id)
  moved('due', id)
end

for _, id in ipairs(redis.call('ZRANGE', P .. ':deadlines', 0, t, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  terminate(id, 'expired', ARGV[5])
  moved('expired', id)
end
return out
