-- ARGV: P id
-- 1: known, 0: no such job
local status = redis.call('HGET', job_key(ARGV[2]), 'status')
if not status then return 0 end
if status == 'queued' then
  terminate(ARGV[2], 'canceled', '')
elseif status == 'running' then
  redis.call('HSET', job_key(ARGV[2]), 'cancel', 1)
end
return 1
