-- ARGV: P id attempt lease_ms [stage step steps]
-- 0: the lease is lost; 1: go on; 2: the job was asked to stop
local id = ARGV[2]
if not owns(id, ARGV[3]) then return 0 end
redis.call('ZADD', P .. ':leases', now() + tonumber(ARGV[4]), id)
if ARGV[5] then
  redis.call('HSET', job_key(id), 'stage', ARGV[5], 'step', ARGV[6], 'steps', ARGV[7])
  event(id, 'progress', 'stage', ARGV[5], 'step', ARGV[6], 'steps', ARGV[7])
end
if redis.call('HGET', job_key(id), 'cancel') == '1' then return 2 end
return 1
