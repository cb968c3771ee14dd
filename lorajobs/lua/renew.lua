-- ARGV: P id attempt lease_ms [stage step steps]
-- 0: the lease is lost; 1: go on; 2: the job was asked to stop
local id = ARGV[2]

-- A webhook of the progress, unless the last one is pending still or was only just made.
local function tell_progress()
  local r = redis.call('HMGET', job_key(id), 'told_ms', 'told')
  local t, told = now(), tonumber(r[2]) or 0
  if told > 0 and (t - tonumber(r[1]) < 500 or
      redis.call('ZSCORE', P .. ':outbox', id .. '.progress.' .. told)) then return end
  if announce(id, 'progress', '.' .. told + 1) then
    redis.call('HSET', job_key(id), 'told', told + 1, 'told_ms', t)
  end
end

local is_own, stage, worker = owns(id, ARGV[3])
if not is_own then return 0 end
redis.call('ZADD', P .. ':leases', now() + tonumber(ARGV[4]), id)
if ARGV[5] then
  -- A claim begins with the adapters, and decoding is a part of generating.
  local is_told = ARGV[5] == 'decoding' or (stage or '') == '' and ARGV[5] == 'loading_adapter'
  if stage ~= ARGV[5] and not is_told then mark(worker, ARGV[5], id, '') end
  redis.call('HSET', job_key(id), 'stage', ARGV[5], 'step', ARGV[6], 'steps', ARGV[7])
  event(id, 'progress', 'stage', ARGV[5], 'step', ARGV[6], 'steps', ARGV[7])
  tell_progress()
end
if redis.call('HGET', job_key(id), 'cancel') == '1' then return 2 end
return 1
